# make demo   set up, draw demo data, train a few minutes, roll the test out
# make test   set up, check style, run the tests
# Variables: PYTHON (3.11 or newer), DEMO (folder of the demo), VENV.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= runs/demo
BIN := $(VENV)/bin

.PHONY: demo test install clean

demo: install
	$(BIN)/python -m demo.dance --out $(DEMO)/data
	$(BIN)/python Trainer.py --DR $(DEMO)/data --save_root $(DEMO)/run --preset quick --minutes 3
	$(BIN)/python Tester.py --DR $(DEMO)/data --save_root $(DEMO)/results --ckpt_path $(DEMO)/run
	@echo
	@echo "Look at $(DEMO)/results: pose_pred_seq0.gif (pose and prediction), scores.png, submission.csv"

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

install: $(VENV)/installed

$(VENV)/installed: requirements.txt requirements-dev.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO)
