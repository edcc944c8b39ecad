# Headrace with everything it needs: Python, Java for Spark, DuckDB with its extensions.
# The same image is the command, the Spark master and the Spark worker, so that driver and
# executors cannot differ in version.
FROM python:3.11.13-slim-bookworm

# procps: Spark's scripts ask `ps`. Java 17 is what Spark is tested with here.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless procps \
    && rm -rf /var/lib/apt/lists/*

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DO_NOT_TRACK=1 \
    HEADRACE_HOME=/data/home

WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY headrace headrace
COPY schemas schemas
COPY pipelines pipelines
COPY jobs jobs
COPY flows flows
RUN pip install --constraint constraints.txt '.[flows,postgres]'

# No root inside; /data is a volume, and a fresh one takes over this owner.
RUN useradd --create-home --uid 10001 headrace && mkdir /data && chown headrace /data
USER headrace
WORKDIR /data
VOLUME /data

ENTRYPOINT ["headrace"]
CMD ["--help"]
