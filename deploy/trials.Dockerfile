# A node of a Ray cluster that trains trials, in the versions of uv.lock. In the checkout's root:
#   docker build -f deploy/trials.Dockerfile -t cifar_track-trials .
FROM python:3.11-slim
# By wget, KubeRay asks a node whether it is well.
RUN apt-get update && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /srv/cifar_track
COPY pyproject.toml uv.lock ./
# For GPUs: `--extra gpu` as well.
RUN pip install --no-cache-dir uv \
    && uv sync --locked --no-dev --extra cluster \
    && useradd --create-home --uid 1000 ray \
    && mkdir /state && chown ray /state
COPY MLproject conda.yaml ./
COPY experiments experiments
COPY cifar_track cifar_track
RUN chown ray .
USER ray
ENV PATH=/srv/cifar_track/.venv/bin:$PATH RAY_USAGE_STATS_ENABLED=0 \
    RAY_worker_niceness=0 XDG_STATE_HOME=/state
