#!/usr/bin/env bash
# Trains one network on 4 machines with 8 GPUs each, under Slurm. What follows goes to pleura train:
#   sbatch clusters/slurm-train.sh prepared --run runs/siim-1gpu.toml --out model
# Folders must be seen by all machines at the same path, and pleura be found there.
#SBATCH --job-name=pleura-train
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --output=pleura-train-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
set -euo pipefail

export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # or what is started again finds a store that is no more
read -r first < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 10000)) # another for each job, as jobs may share a machine

# A process that dies is started again by torchrun. After a machine that dies Slurm begins the job
# anew, and --resume goes on after the last finished epoch.
# srun does not take the number of cores from above by itself (since Slurm 22.05).
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node gpu --max-restarts 10 \
    --rdzv-backend c10d --rdzv-endpoint "$first:$port" --rdzv-id "$SLURM_JOB_ID" \
    -m pleura train "$@" --resume
