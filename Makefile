# make demo   set up, make demo data, train a few minutes, roll the test out
# make demo-robot   the same for the robot model: make data, train, sample, score
# make own-dance   film somebody new, import the video with estimated poses, train 5 minutes, dance
# make test   set up, check style, run the tests
# make play   set up and play a small pretrained model in the browser; MODEL=robot for the arm
# make pretrained   train both models of pretrained/ anew, on the demo's data
# make sweep  set up, make demo data, train the report's runs small, compare them
# make pictures  the pictures of the player, the report page and the scores, from the demo; needs chromium
# Variables: MODEL (dance, robot: what is played), PYTHON (3.11 or newer), DEMO, ROBOT and OWN
# (folders of the demos), SWEEP (of the sweep), VENV.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= runs/demo
ROBOT ?= runs/robot
OWN ?= runs/own
SWEEP ?= runs/sweep
PRETRAINED ?= runs/pretrained
MODEL ?= dance
BIN := $(VENV)/bin

.PHONY: play pretrained demo demo-robot own-dance test sweep study pictures install clean

demo: install
	$(BIN)/python -m demo.dance --out $(DEMO)/data
	$(BIN)/python Trainer.py --DR $(DEMO)/data --save_root $(DEMO)/run --preset quick --minutes 3 --flip_prob 0 \
		--per_val 4
	$(BIN)/python Tester.py --DR $(DEMO)/data --save_root $(DEMO)/results --ckpt_path $(DEMO)/run
	$(BIN)/python Reporter.py $(DEMO)/run $(DEMO)/results --out $(DEMO)/report
	@echo
	@echo "Open $(DEMO)/report/report.html in a browser to play the rollouts"

demo-robot: install
	$(BIN)/python -m demo.robot --out $(ROBOT)/data
	$(BIN)/python Trainer.py --model svg --DR $(ROBOT)/data --save_root $(ROBOT)/run \
		--preset quick --minutes 4
	$(BIN)/python Tester.py --DR $(ROBOT)/data --save_root $(ROBOT)/results --ckpt_path $(ROBOT)/run
	@echo
	@echo "Open $(ROBOT)/results/report.html in a browser to play truth, posterior, best and random samples"

# The first command takes the place of a phone and an estimator; the others are what one types.
own-dance: install
	$(BIN)/python -m demo.film --out $(OWN)/film
	test -d $(OWN)/data || $(BIN)/python -m data.video --video $(OWN)/film/take1.mp4 $(OWN)/film/take2.mp4 \
		--poses $(OWN)/film/take1_poses $(OWN)/film/take2_poses --out $(OWN)/data --val 9 --test 21
	$(BIN)/python Trainer.py --DR $(OWN)/data --save_root $(OWN)/run --preset quick --minutes 5 \
		--flip_prob 0 --per_val 4
	test -d $(OWN)/other || $(BIN)/python -m data.transfer --poses $(OWN)/film/other_poses \
		--to $(OWN)/run --out $(OWN)/other
	$(BIN)/python Tester.py --DR $(OWN)/data --save_root $(OWN)/results --ckpt_path $(OWN)/run
	$(BIN)/python Tester.py --DR $(OWN)/other --save_root $(OWN)/other-results --ckpt_path $(OWN)/run
	$(BIN)/python Reporter.py $(OWN)/run $(OWN)/results --out $(OWN)/report
	@echo
	@echo "Open in a browser: $(OWN)/report/report.html, the test of the new dancer, and"
	@echo "$(OWN)/other-results/report.html, somebody else's dance by the same dancer"

play: install
	$(BIN)/python Player.py --ckpt_path pretrained/$(MODEL).safetensors

# What pretrained/README.md tells of: 8 minutes, then 700 steps in about 5, and the scores.
pretrained: install
	$(BIN)/python -m demo.dance --out $(PRETRAINED)/dance-data
	$(BIN)/python Trainer.py --DR $(PRETRAINED)/dance-data --save_root $(PRETRAINED)/dance \
		--preset quick --minutes 8 --flip_prob 0
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

study: sweep # its former name

sweep: install
	$(BIN)/python -m demo.dance --out $(SWEEP)/data --train_frames 600 --test_sequences 2 \
		--sequence_length 200
	$(BIN)/python Reporter.py --sweep --DR $(SWEEP)/data --out $(SWEEP)/report -- \
		--F_dim 16 --L_dim 8 --N_dim 4 --D_out_dim 24 --patch_size 2 --batch_size 4 --lr 2e-3 \
		--num_epoch 40 --per_val 4 --per_save 40
	@echo
	@echo "Open $(SWEEP)/report/report.html in a browser"

pictures: demo
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
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

install: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) $(ROBOT) $(OWN) $(SWEEP) $(PRETRAINED)
