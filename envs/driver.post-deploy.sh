# Written by make lock from envs/driver.txt; do not edit.
set -eu
echo "577021e9257440aa17a68fbfd26a4582f43bf06c529b1242ab9c0b14cebaeca3  envs/driver.txt" | sha256sum --check --quiet
# DeepSpeed compiles what it needs when it needs it, on the machine that has the GPU.
export DS_BUILD_OPS=0
"$CONDA_PREFIX/bin/python" -m pip install --no-input --no-deps --require-hashes -r envs/driver.txt
