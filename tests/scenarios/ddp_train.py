"""A training in several gloo processes, as users write it; each rank prints its losses to the last digit.

Started by torchrun, by a launcher that sets RANK and WORLD_SIZE, or, with `spawn=N`, by `torch.multiprocessing.spawn`
at the port PORT.
"""

import os
import random
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import hypertuner


def tell(text):
    """One write a line: the processes share one pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(rank=None, world_size=None):
    torch.set_num_threads(1)
    if rank is None:
        dist.init_process_group("gloo")
        rank, world_size = dist.get_rank(), dist.get_world_size()
    else:
        dist.init_process_group("gloo", rank=rank, world_size=world_size)
    args = hypertuner.Args(
        epochs=4, slow=0.0, saves="all", savers="all", fail_on=-1, how="exception", stateful=False, ask=False, spawn=0
    )
    torch.manual_seed(3 + rank)
    random.seed(4 + rank)
    data = torch.utils.data.TensorDataset(
        torch.arange(240.0).reshape(48, 5) / 100, torch.arange(48.0).reshape(48, 1) / 9
    )
    sampler = torch.utils.data.DistributedSampler(data, world_size, rank, seed=7)
    if args.stateful:
        from torchdata.stateful_dataloader import StatefulDataLoader

        loader = StatefulDataLoader(data, batch_size=4, sampler=sampler)
    else:
        loader = torch.utils.data.DataLoader(data, batch_size=4, sampler=sampler)
    net = nn.Sequential(nn.Linear(5, 16), nn.Dropout(0.3), nn.Linear(16, 1))
    # DDP sorts its buckets anew after the first step, also the first after a resume; from three ranks on that is
    # another order of summation, and a last digit. With this it does not.
    net = DistributedDataParallel(net, find_unused_parameters=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02)
    if args.savers == "all" or rank == 0:
        saver = hypertuner.Saver(net, optimizer=optimizer, dataloader=loader)
        if args.ask:
            tell(f"resumed {rank} {saver.resume() is not None}")
    logger = hypertuner.Logger()
    weights = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
    tell(f"began {rank} {weights.double().sum().item().hex()}")
    torch.rand(3)
    step = 0
    for epoch in range(saver.next_epoch if args.savers == "all" or rank == 0 else 0, args.epochs):
        sampler.set_epoch(epoch)
        for number, (x, y) in enumerate(loader):
            if rank == args.fail_on and epoch == 1:
                if args.how == "kill":
                    os.kill(os.getpid(), 9)
                raise ValueError("the loss of this rank is no number")
            loss = (net(x) - y).pow(2).mean() * (1 + random.random())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tell(f"loss {rank} {epoch}.{number} {loss.item().hex()}")
            logger.log({"loss": loss})
            step += 1
            time.sleep(args.slow)
        if args.saves == "all" or rank == 0:
            saver.save(epoch=epoch)
    if args.savers == "all":
        tell(f"run {rank} {saver.save(epoch=args.epochs).run}")
    dist.barrier()
    dist.destroy_process_group()
    logger.log({"after": 1})
    tell(f"done {rank}")


if __name__ == "__main__":
    if count := next((int(word.partition("=")[2]) for word in sys.argv if word.startswith("spawn=")), 0):
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ["PORT"])
        torch.multiprocessing.spawn(main, args=(count,), nprocs=count)
    else:
        main()
