#!/bin/sh
# Makes a trial as a Job. The folder of results is on the volume claim $CLAIM, which is mounted here at $MOUNT and may
# be mounted by many nodes; $IMAGE is an image with qemu-system-x86_64. CPUS and MEMORY are what a guest takes.
# KVM_RESOURCE is what nodes call /dev/kvm; the default is the name that KubeVirt's device plugin gives it.
set -eu
spec=$1 index=$2 out=$3
: "${CLAIM:?}" "${MOUNT:?}" "${IMAGE:?}"
inside() { printf '/results/%s' "${1#"$MOUNT"/}"; }
run=$(basename "$(dirname "$spec")" | tr 'A-Z_.' 'a-z--')
job=kverdict-$run-$index
kvm=
if grep -q '"acceleration": "kvm"' "$spec"; then kvm=", ${KVM_RESOURCE:-devices.kubevirt.io/kvm}: 1"; fi

# One that an earlier call left would keep the name.
kubectl delete job "$job" --ignore-not-found --wait > /dev/null
kubectl create -f - <<JOB
apiVersion: batch/v1
kind: Job
metadata: {name: $job}
spec:
  backoffLimit: 2
  ttlSecondsAfterFinished: 3600
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: trial
          image: $IMAGE
          command: ["$(inside "$(dirname "$spec")")/kverdict", "trial", "--spec", "$(inside "$spec")",
                    "--index", "$index", "--out", "$(inside "$out")"]
          resources:
            requests: {cpu: "${CPUS:-8}", memory: "${MEMORY:-2Gi}"}
            limits: {cpu: "${CPUS:-8}", memory: "${MEMORY:-2Gi}"$kvm}
          volumeMounts: [{name: results, mountPath: /results}]
      volumes: [{name: results, persistentVolumeClaim: {claimName: $CLAIM}}]
JOB
# A failed Job ends the wait as well.
kubectl wait "job/$job" --for=condition=Complete --timeout=24h &
complete=$!
kubectl wait "job/$job" --for=condition=Failed --timeout=24h && kill "$complete" &
failed=$!
wait "$complete" || true
kill "$failed" 2> /dev/null || true
kubectl logs "job/$job" || true
