# One image for every node of a store: docker run ... pygmy catalog-0. docs/containers.md tells how.
#
# An index of your own: --build-arg PIP_INDEX_URL=... PIP_EXTRA_INDEX_URL=... PIP_TRUSTED_HOST=...
# They are for the build stage only: nothing of them is in the image.

FROM python:3.12-slim AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Dependencies first: they change less often than the code, and this layer is then there already.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir pygmy && echo '__version__ = "0"' >pygmy/__init__.py \
    && pip wheel --quiet --wheel-dir /wheels . && rm /wheels/pygmy-*.whl
COPY pygmy pygmy
COPY twisted twisted
RUN pip wheel --quiet --no-deps --wheel-dir /wheels .
# twistd keeps a cache of its plugins beside them. It is made here, where that place can be written to.
RUN python -m venv --without-pip /opt/pygmy \
    && pip --python /opt/pygmy/bin/python install --quiet --no-index --find-links /wheels --compile pygmy \
    && /opt/pygmy/bin/twistd --help >/dev/null

FROM python:3.12-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin pygmy \
    && install -d -o pygmy -g pygmy -m 700 /data
COPY --from=build /opt/pygmy /opt/pygmy
ENV PATH=/opt/pygmy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYGMY_DATA=/data \
    PYGMY_CLUSTER=/data/cluster.txt
USER 10001:10001
WORKDIR /data
VOLUME /data
# `pygmy run` becomes the node, which is then process 1 and gets the SIGTERM of `docker stop` itself.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["pygmy", "health"]
ENTRYPOINT ["pygmy", "run"]
CMD ["--help"]
