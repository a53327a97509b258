# The workflow with its packages in the versions of constraints.txt, and torch for the CPU:
#   docker build --tag trm .
#   docker run trm snakemake --cores 2
# For NVIDIA GPUs (on a host with the NVIDIA Container Toolkit):
#   docker build --tag trm --build-arg TORCH_INDEX=https://pypi.org/simple .
#   docker run --gpus all trm snakemake --cores 8 results/sudoku-extreme/mlp/seed-0/metrics.json
# Files go to the volumes below. To have them in a folder of yours, under your name, run there:
#   docker run --user "$(id -u):$(id -g)" --volume "$PWD:/work" --workdir /work trm \
#       snakemake --snakefile /trm/Snakefile --cores 2
# With Apptainer, whose images are read-only, also in a folder of yours (--nv for GPUs):
#   apptainer build trm.sif docker-daemon://trm:latest
#   apptainer exec trm.sif snakemake --snakefile /trm/Snakefile --cores 2
FROM python:3.12-slim-bookworm

# Where torch comes from: its own index of builds for the CPU, or PyPI, whose build is for CUDA 13. The
# pins of constraints.txt include the CUDA libraries of that one.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# g++: torch.compile. git: provenance.json names the revision, whoever runs the container.
# Debian removes old versions of its packages, so none is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /trm \
    && useradd --create-home --uid 1000 trm \
    && install --directory --owner trm /trm

# Any user has a name, which Snakemake asks for, and a cache, also one without an account or a home.
ENV USER=trm XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/matplotlib

WORKDIR /trm
COPY --chown=trm . .
RUN PIP_CONSTRAINT=constraints.txt \
    pip install --no-cache-dir --root-user-action ignore --extra-index-url "$TORCH_INDEX" --editable . \
    && install --directory --owner trm raw data checkpoints results logs

USER 1000
VOLUME ["/trm/raw", "/trm/data", "/trm/checkpoints", "/trm/results", "/trm/logs"]
CMD ["snakemake", "--cores", "2"]
