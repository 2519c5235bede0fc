# masquerade with Ray and object stores, for a cluster or for a machine without Python.
#
#   docker build -t masquerade .
#   docker run --rm --network none -v "$PWD:/data" masquerade anonymize holiday.mp4 -o safe.mp4
#
# On NVIDIA GPUs: --build-arg TORCH="torch>=2.13,<3", which brings CUDA's libraries along, and
# `docker run --gpus all`. Another build of torch: TORCH=torch==VERSION+cuXXX with
# TORCH_INDEX=https://download.pytorch.org/whl/cuXXX, and another base: BASE, with Python 3.11 or 3.12.
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
ARG TORCH=torch==2.13.0+cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=studio,ray,remote

RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/source
COPY . .
# the networks that find people come with the set-up; nothing is fetched when it runs
RUN make PYTHON=python3 VENV=/opt/masquerade TORCH="${TORCH}" CPU_INDEX="${TORCH_INDEX}" /opt/masquerade/ready \
 && /opt/masquerade/bin/pip install -q -e ".[${EXTRAS}]" \
 && rm -rf /root/.cache /root/.npm

ENV PATH=/opt/masquerade/bin:$PATH RAY_USAGE_STATS_ENABLED=0
RUN useradd --create-home --uid 1000 masquerade
USER masquerade
WORKDIR /data
ENTRYPOINT ["masquerade"]
