# The image of agent, controller and command line; docs/how-to/build-the-image.md tells how it is built.
# Any Debian 12 or what is made of it; everything else comes from its package archive and the two lock files.
ARG BASE=debian:12-slim

# Kernel headers for the compiler. The programs use types of the kernel's user-space interface alone, so these of the
# distribution fit every kernel, and of their 55 MB the folders below are all that the compiler reads.
FROM ${BASE} AS headers
COPY scripts/common.sh scripts/get-headers /src/scripts/
RUN XDG_CACHE_HOME=/cache /src/scripts/get-headers
WORKDIR /cache/wirecrypt/headers
RUN mkdir /headers && cp -a --parents \
    include/asm-generic include/generated include/linux include/uapi include/vdso arch/x86/include /headers

# The wheel, and the virtual environment it is installed in. That environment has no pip of its own.
FROM ${BASE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/build && python3 -m venv --system-site-packages --without-pip /opt/wirecrypt
WORKDIR /src
COPY requirements-build.lock requirements-runtime.lock ./
# Two secrets that may be given where packages come from a private index: pip's configuration and the authorities to trust.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/build/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements-build.lock && \
    /opt/build/bin/pip --python /opt/wirecrypt/bin/python3 install \
    --no-cache-dir --no-compile --require-hashes --no-deps --only-binary :all: -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY wirecrypt wirecrypt
COPY bpf bpf
COPY manifests manifests
COPY overlays/example overlays/example
# Byte code is made here, as the image is read-only where it runs; bound to no file times, it is the same in every build. Not for the
# generated models and the asynchronous twin of the Kubernetes client: nothing loads them (tests/image), and it would be 45 MB.
RUN /opt/build/bin/pip wheel --no-cache-dir --no-index --no-deps --no-build-isolation --wheel-dir /dist . && \
    /opt/build/bin/pip --python /opt/wirecrypt/bin/python3 install --no-cache-dir --no-compile --no-index --no-deps /dist/*.whl && \
    /opt/wirecrypt/bin/python3 -m compileall -q --invalidation-mode unchecked-hash \
    -x 'kubernetes/(aio|client/(api|models)/[^_])' /opt/wirecrypt/lib

FROM ${BASE}
RUN apt-get update && \
    apt-get install -y --no-install-recommends python3 python3-bpfcc && \
    apt-get clean && \
    rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache /var/lib/dpkg/*-old /var/log/* && \
    useradd --uid 65532 --user-group --no-log-init --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin wirecrypt
COPY --from=headers /headers /usr/share/wirecrypt/headers
COPY --from=build /opt/wirecrypt /opt/wirecrypt
ENV PATH=/opt/wirecrypt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    BCC_KERNEL_SOURCE=/usr/share/wirecrypt/headers \
    PYTHONDONTWRITEBYTECODE=1
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="wirecrypt" \
      org.opencontainers.image.description="Encrypts all pod traffic between Kubernetes nodes with the kernel's own IPsec" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The agent's manifest asks for root, with the few capabilities that it lists; nothing else does.
USER 65532:65532
ENTRYPOINT ["wirecrypt"]
