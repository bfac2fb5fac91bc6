# make demo   set up, draw demo data, train a few minutes, roll the test out
# make demo-robot   the same for the robot model: draw, train, sample, score
# make test   set up, check style, run the tests
# make play   set up and play a small pretrained model in the browser; MODEL=robot for the arm
# make pretrained   train both models of pretrained/ anew, on the demo's data
# make study  set up, draw demo data, train the four runs of the lab report small, compare them
# make pictures  the README's pictures: the page that is played, report and scores; needs chromium
# Variables: MODEL (dance, robot: what is played), PYTHON (3.11 or newer), DEMO and ROBOT (folders of the demos), STUDY (of the study), VENV.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= runs/demo
ROBOT ?= runs/robot
STUDY ?= runs/study
PRETRAINED ?= runs/pretrained
MODEL ?= dance
BIN := $(VENV)/bin

.PHONY: play pretrained demo demo-robot test study pictures install clean

demo: install
	$(BIN)/python -m demo.dance --out $(DEMO)/data
	$(BIN)/python Trainer.py --DR $(DEMO)/data --save_root $(DEMO)/run --preset quick --minutes 3 --mirror 0 \
		--per_val 4
	$(BIN)/python Tester.py --DR $(DEMO)/data --save_root $(DEMO)/results --ckpt_path $(DEMO)/run
	$(BIN)/python Reporter.py $(DEMO)/run $(DEMO)/results --out $(DEMO)/report
	@echo
	@echo "Open $(DEMO)/report/report.html in a browser to play the roll-outs"

demo-robot: install
	$(BIN)/python -m demo.robot --out $(ROBOT)/data
	$(BIN)/python Trainer.py --model svg --DR $(ROBOT)/data --save_root $(ROBOT)/run \
		--preset quick --minutes 4
	$(BIN)/python Tester.py --DR $(ROBOT)/data --save_root $(ROBOT)/results --ckpt_path $(ROBOT)/run
	@echo
	@echo "Open $(ROBOT)/results/report.html in a browser to play truth, posterior, best and random samples"

play: install
	$(BIN)/python Player.py --ckpt_path pretrained/$(MODEL).safetensors

# What pretrained/README.md tells of: 8 minutes, then 700 steps in about 5, and the scores.
pretrained: install
	$(BIN)/python -m demo.dance --out $(PRETRAINED)/dance-data
	$(BIN)/python Trainer.py --DR $(PRETRAINED)/dance-data --save_root $(PRETRAINED)/dance \
		--preset quick --minutes 8 --mirror 0
	$(BIN)/python -m demo.robot --out $(PRETRAINED)/robot-data
	$(BIN)/python Trainer.py --model svg --DR $(PRETRAINED)/robot-data \
		--save_root $(PRETRAINED)/robot --preset quick --num_epoch 20 --epoch_size 35 \
		--vgg_width 8 --rnn_size 72
	for model in dance robot; do \
		$(BIN)/python Tester.py --ckpt_path $(PRETRAINED)/$$model \
			--export_safetensors pretrained/$$model.safetensors --overwrite \
		&& $(BIN)/python Tester.py --ckpt_path pretrained/$$model.safetensors \
			--DR $(PRETRAINED)/$$model-data --save_root $(PRETRAINED)/$$model-results \
			--overwrite --precision fp32 || exit; \
	done

study: install
	$(BIN)/python -m demo.dance --out $(STUDY)/data --train_frames 600 --test_sequences 2 \
		--sequence_length 200
	$(BIN)/python Reporter.py --study --DR $(STUDY)/data --out $(STUDY)/report -- \
		--F_dim 16 --L_dim 8 --N_dim 4 --D_out_dim 24 --patch 2 --batch_size 4 --lr 2e-3 \
		--num_epoch 40 --per_val 4 --per_save 40
	@echo
	@echo "Open $(STUDY)/report/report.html in a browser"

pictures: install
	$(BIN)/python Reporter.py $(DEMO)/run $(DEMO)/results --sequences 0 --out $(DEMO)/pictures
	cp $(DEMO)/pictures/scores.png docs/scores.png
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1280,735 \
		--virtual-time-budget=10000 --screenshot=$(CURDIR)/docs/player.png \
		"file://$(abspath $(DEMO))/report/report.html#sequence=2&frame=310"
	$(BIN)/python -m benchmarks.play --picture docs/play.png

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python -m pytest -n auto --dist loadfile

install: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) $(ROBOT) $(STUDY) $(PRETRAINED)
