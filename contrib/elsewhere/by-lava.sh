#!/bin/sh
# Makes a trial as a LAVA job on a device of type $DEVICE (default: docker) whose worker mounts the folder of results
# at the same path as this machine. lavacli has to be set up; $IMAGE is a container image with qemu-system-x86_64.
set -eu
spec=$1 index=$2 out=$3
: "${IMAGE:?}"
run=$(dirname "$spec")
results=$(dirname "$run")
definition=$(mktemp)
trap 'rm -f "$definition"' EXIT
cat > "$definition" <<JOB
job_name: kverdict $(basename "$run") trial $index
device_type: ${DEVICE:-docker}
visibility: public
priority: medium
timeouts: {job: {hours: 24}, action: {hours: 23}}
actions:
  - deploy: {to: docker, os: debian, image: {name: $IMAGE}}
  - boot:
      method: docker
      command: sh
      prompts: ['#']
      docker: {volumes: ['$results:$results']}
  - test:
      definitions:
        - from: inline
          name: trial
          path: inline/trial.yaml
          repository:
            metadata: {format: Lava-Test Test Definition 1.0, name: trial}
            run:
              steps:
                - lava-test-case trial --shell $run/kverdict trial --spec $spec --index $index --out $out
JOB
job=$(lavacli jobs submit "$definition")
lavacli jobs wait "$job"
lavacli jobs logs "$job" | tail -n 50
