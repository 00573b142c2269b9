# The study in a container. Not run here: built and tried by nobody yet; tests/test_containers.py lints it.
#
#   docker build -t dfu-study .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD/photographs:/data:ro" -v "$PWD/runs:/runs" dfu-study \
#       sweep --data /data --out /runs
#
# PyTorch's wheels bring CUDA themselves, so a plain Python image is enough: the host has NVIDIA's driver and its
# container toolkit. Without a GPU, leave --gpus out, and build with
#   --build-arg PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
FROM python:3.11.14-slim-bookworm

ARG PIP_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# /runs is where studies are written; mount a folder there that user 1000 may write.
RUN useradd --uid 1000 --create-home study && mkdir /runs && chown study:study /runs

WORKDIR /opt/dfu-gan-study
COPY pyproject.toml constraints.txt requirements-no-deps.txt README.md LICENSE ./
COPY study study
COPY models models
COPY data_utils data_utils
COPY results results

# The versions are those of constraints.txt and requirements-no-deps.txt. PIP_ARGS holds several words.
RUN python -m pip install ${PIP_ARGS} --constraint constraints.txt --editable '.[bundle,serve,heif]' \
    && python -m pip install --no-deps --requirement requirements-no-deps.txt

USER 1000
WORKDIR /
ENTRYPOINT ["dfu-study"]
CMD ["--help"]
