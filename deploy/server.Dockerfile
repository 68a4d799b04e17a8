# The MLflow server with accounts, in the versions of uv.lock. In the checkout's root:
#   docker build -f deploy/server.Dockerfile -t cifar_track-server .
FROM python:3.11-slim
WORKDIR /srv/mlflow
COPY pyproject.toml uv.lock ./
RUN pip install --no-cache-dir uv \
    && uv sync --locked --only-group server \
    && useradd --system --create-home mlflow \
    && mkdir /artifacts && chown mlflow /artifacts
COPY deploy/accounts.ini ./
USER mlflow
ENV PATH=/srv/mlflow/.venv/bin:$PATH MLFLOW_AUTH_CONFIG_PATH=/srv/mlflow/accounts.ini
EXPOSE 5000
CMD ["mlflow", "server", "--app-name", "basic-auth", "--host", "0.0.0.0", "--workers", "2", \
     "--artifacts-destination", "/artifacts"]
