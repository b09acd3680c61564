# Written by make lock from envs/comet.txt; do not edit.
set -eu
echo "fe8dfe09eadc206e70b4745759567463f82bf01716873728a6f1f5fa50b2ad46  envs/comet.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/comet.txt
