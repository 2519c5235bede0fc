# masquerade with Ray and object stores, for a cluster or for a machine without Python.
#
#   docker build -t masquerade .
#   docker run --rm --network none --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD:/data" masquerade anonymize holiday.mp4 -o safe.mp4
#
# The commands of the repository, in an image that holds the tests too:
#
#   docker build --target test -t masquerade-test .
#   docker run --rm masquerade-test demo
#   docker run --rm masquerade-test test
#
# On NVIDIA GPUs: --build-arg TORCH="torch>=2.13,<3", which brings CUDA's libraries along, and
# `docker run --gpus all`; compose.gpu.yaml does both. Another build of torch:
# TORCH=torch==VERSION+cuXXX with TORCH_INDEX=https://download.pytorch.org/whl/cuXXX, and another
# base: BASE, with Python 3.11 or 3.12.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE} AS build
ARG TORCH=torch==2.13.0+cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=studio,onnx,ray,remote

RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/source
COPY LICENSE Makefile README.md pyproject.toml ./
COPY src src
# the networks that find people come with the set-up; nothing is fetched when it runs
ENV PYTHON=python3 VENV=/opt/masquerade
RUN make TORCH="${TORCH}" CPU_INDEX="${TORCH_INDEX}" /opt/masquerade/ready \
 && /opt/masquerade/bin/pip install -q -e ".[${EXTRAS}]" \
 && rm -rf /root/.cache /root/.npm

ENV PATH=/opt/masquerade/bin:$PATH RAY_USAGE_STATS_ENABLED=0 ORT_DISABLE_TELEMETRY=1
RUN useradd --create-home --uid 1000 masquerade

FROM build AS test
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends ffmpeg \
 && rm -rf /var/lib/apt/lists/*
RUN make /opt/masquerade/ready-dev && rm -rf /root/.cache /root/.npm
COPY --chown=masquerade . .
RUN chown masquerade . && touch /opt/masquerade/ready /opt/masquerade/ready-dev
USER masquerade
ENTRYPOINT ["make"]

# the last stage is the image that is built where none is named
FROM build
USER masquerade
WORKDIR /data
ENTRYPOINT ["masquerade"]
