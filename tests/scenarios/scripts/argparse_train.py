#!/usr/bin/env python
"""Train a small classifier on synthetic data.

A training script of the usual kind: everything is an argparse option, some of it can come from a YAML file, and the
rest of the program passes `args` around.

    python argparse_train.py DATA OUTPUT --arch wide --epochs 3 --config configs/small.yaml
"""

import argparse
import json
import logging
import os
import random
import sys
import time
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logger = logging.getLogger("train")

ARCHITECTURES = {"narrow": 8, "wide": 16}


def int_or_none(text):
    return None if text.lower() == "none" else int(text)


def str2bool(text):
    if text.lower() in ("yes", "true", "t", "1"):
        return True
    if text.lower() in ("no", "false", "f", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected a boolean, got {text!r}")


# The first parser only knows the config file; what is in there becomes a default of the second one.
config_parser = argparse.ArgumentParser(description="Training Config", add_help=False)
config_parser.add_argument(
    "-c", "--config", default="", type=str, metavar="FILE", help="YAML config file specifying default arguments"
)


def get_parser():
    parser = argparse.ArgumentParser(description="Synthetic Classification Training")
    parser.add_argument("-c", "--config", default="", type=str, metavar="FILE", help="YAML file with defaults")

    group = parser.add_argument_group("Dataset parameters")
    group.add_argument("data", metavar="DIR", type=Path, help="path to dataset")
    group.add_argument("output", type=Path, help="folder for checkpoints and logs")
    group.add_argument("--train-split", metavar="NAME", default="train", help="dataset train split")
    group.add_argument("--samples", type=int, default=64, help="how many samples to make")
    group.add_argument("--num-classes", type=int, default=3, metavar="N", help="number of label classes")
    group.add_argument("-b", "--batch-size", default=16, type=int, metavar="N", help="mini-batch size")
    group.add_argument("-j", "--workers", default=0, type=int, metavar="N", help="number of data loading workers")
    group.add_argument("--max-samples", default=None, type=int_or_none, help="use only so many samples")

    group = parser.add_argument_group("Model parameters")
    group.add_argument("-a", "--arch", default="narrow", choices=sorted(ARCHITECTURES), help="model architecture")
    group.add_argument("--drop", type=float, default=0.0, metavar="PCT", help="dropout rate")
    group.add_argument("--bias", type=str2bool, default=True, help="whether layers have a bias")
    group.add_argument("--act", default="relu", choices=["relu", "gelu", "tanh"], help="activation")
    group.add_argument("--pretrained", dest="pretrained", action="store_true", help="use a pre-trained model")

    group = parser.add_argument_group("Optimizer parameters")
    group.add_argument("--opt", default="sgd", type=str.lower, choices=["sgd", "adamw"], help="optimizer")
    group.add_argument("--lr", "--learning-rate", default=0.1, type=float, metavar="LR", help="initial learning rate")
    group.add_argument("--momentum", default=0.9, type=float, metavar="M", help="momentum")
    group.add_argument("--wd", "--weight-decay", default=1e-4, type=float, dest="weight_decay", help="weight decay")
    group.add_argument("--betas", default=[0.9, 0.999], type=float, nargs=2, metavar="B", help="betas of AdamW")
    group.add_argument("--clip-grad", default=None, type=float, metavar="NORM", help="clip gradient norm")
    group.add_argument("--no-nesterov", dest="nesterov", action="store_false", help="plain momentum")

    group = parser.add_argument_group("Schedule parameters")
    group.add_argument("--epochs", default=2, type=int, metavar="N", help="number of total epochs to run")
    group.add_argument("--start-epoch", default=0, type=int, metavar="N", help="manual epoch number")
    group.add_argument("--lr-milestones", nargs="+", default=[], type=int, help="decrease lr at these epochs")
    group.add_argument("--lr-gamma", default=0.1, type=float, help="decrease lr by a factor of lr-gamma")
    group.add_argument("--warmup-epochs", default=0, type=int, help="number of warmup epochs")

    group = parser.add_argument_group("Miscellaneous parameters")
    group.add_argument("--seed", default=0, type=int, help="seed for initializing training")
    group.add_argument("--world-size", default=1, type=int, help="number of processes")
    group.add_argument("--device", default="cpu", type=torch.device, help="device to train on")
    group.add_argument("--resume", default="", type=str, metavar="PATH", help="path to latest checkpoint")
    group.add_argument("--print-freq", default=2, type=int, metavar="N", help="print frequency")
    group.add_argument("-e", "--evaluate", action="store_true", help="evaluate model on validation set")
    group.add_argument("-v", "--verbose", action="count", default=0, help="more output")
    return parser


def parse_args():
    """Command line over YAML file over defaults."""
    config_args, _ = config_parser.parse_known_args()
    parser = get_parser()
    if config_args.config:
        with open(config_args.config) as file:
            parser.set_defaults(**yaml.safe_load(file))
    args = parser.parse_args()
    return args


class AverageMeter:
    """Computes and stores the average and current value."""

    def __init__(self, name, fmt=":f"):
        self.name = name
        self.fmt = fmt
        self.reset()

    def reset(self):
        self.val = 0
        self.avg = 0
        self.sum = 0
        self.count = 0

    def update(self, val, n=1):
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count

    def __str__(self):
        return ("{name} {val" + self.fmt + "} ({avg" + self.fmt + "})").format(**vars(self))


class ProgressMeter:
    def __init__(self, num_batches, meters, prefix=""):
        digits = len(str(num_batches))
        self.batch_format = "[{:" + str(digits) + "d}/" + str(num_batches) + "]"
        self.meters = meters
        self.prefix = prefix

    def display(self, batch):
        entries = [self.prefix + self.batch_format.format(batch)]
        entries += [str(meter) for meter in self.meters]
        logger.info("  ".join(entries))


class Classifier(nn.Module):
    def __init__(self, width, num_classes, drop, bias, act):
        super().__init__()
        self.stem = nn.Linear(8, width, bias=bias)
        self.norm = nn.BatchNorm1d(width)
        self.act = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}[act]()
        self.drop = nn.Dropout(drop)
        self.head = nn.Linear(width, num_classes, bias=bias)

    def forward(self, x):
        return self.head(self.drop(self.act(self.norm(self.stem(x)))))


def create_model(args):
    if args.pretrained:
        raise SystemExit("there are no pretrained weights of synthetic data")
    return Classifier(ARCHITECTURES[args.arch], args.num_classes, args.drop, args.bias, args.act)


def create_loader(args, split):
    generator = torch.Generator().manual_seed(args.seed + (split != args.train_split))
    inputs = torch.randn(args.samples, 8, generator=generator)
    targets = (inputs[:, : args.num_classes]).argmax(dim=1)
    if args.max_samples is not None:
        inputs, targets = inputs[: args.max_samples], targets[: args.max_samples]
    return DataLoader(TensorDataset(inputs, targets), batch_size=args.batch_size, num_workers=args.workers)


def create_optimizer(args, model):
    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": args.weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    if args.opt == "sgd":
        return torch.optim.SGD(groups, lr=args.lr, momentum=args.momentum, nesterov=args.nesterov)
    return torch.optim.AdamW(groups, lr=args.lr, betas=tuple(args.betas))


def adjust_learning_rate(optimizer, epoch, args):
    lr = args.lr
    if epoch < args.warmup_epochs:
        lr *= (epoch + 1) / args.warmup_epochs
    for milestone in args.lr_milestones:
        lr *= args.lr_gamma if epoch >= milestone else 1.0
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr


def accuracy(output, target):
    with torch.no_grad():
        return (output.argmax(dim=1) == target).float().mean().item() * 100.0


def train(loader, model, criterion, optimizer, epoch, args):
    losses = AverageMeter("Loss", ":.4e")
    top1 = AverageMeter("Acc@1", ":6.2f")
    progress = ProgressMeter(len(loader), [losses, top1], prefix=f"Epoch: [{epoch}]")
    model.train()
    for i, (images, target) in enumerate(loader):
        images = images.to(args.device, non_blocking=True)
        target = target.to(args.device, non_blocking=True)
        with torch.autocast(args.device.type, enabled=getattr(args, "amp", False)):
            output = model(images)
            loss = criterion(output, target)
        losses.update(loss.item(), images.size(0))
        top1.update(accuracy(output, target), images.size(0))
        optimizer.zero_grad()
        loss.backward()
        if args.clip_grad is not None:
            nn.utils.clip_grad_norm_(model.parameters(), args.clip_grad)
        optimizer.step()
        if i % args.print_freq == 0:
            progress.display(i)
    return losses.avg, top1.avg


@torch.no_grad()
def validate(loader, model, criterion, args):
    losses = AverageMeter("Loss", ":.4e")
    top1 = AverageMeter("Acc@1", ":6.2f")
    model.eval()
    for images, target in loader:
        output = model(images.to(args.device))
        losses.update(criterion(output, target.to(args.device)).item(), images.size(0))
        top1.update(accuracy(output, target), images.size(0))
    logger.info(" * Acc@1 %.3f", top1.avg)
    return losses.avg, top1.avg


def save_checkpoint(state, is_best, folder):
    path = folder / "checkpoint.pth.tar"
    torch.save(state, path)
    if is_best:
        os.replace(path, folder / "model_best.pth.tar")
        torch.save(state, path)


def main():
    args = parse_args()
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, stream=sys.stdout)
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    if not args.data.exists():
        raise SystemExit(f"no such dataset: {args.data}")
    args.distributed = args.world_size > 1
    args.lr *= args.world_size
    with open(args.output / "args.json", "w") as file:
        json.dump(vars(args), file, default=str, indent=2, sort_keys=True)

    model = create_model(args).to(args.device)
    criterion = nn.CrossEntropyLoss(label_smoothing=getattr(args, "smoothing", 0.0))
    optimizer = create_optimizer(args, model)
    train_loader = create_loader(args, args.train_split)
    val_loader = create_loader(args, "val")

    best_acc1 = 0.0
    if args.resume:
        checkpoint = torch.load(args.resume)
        args.start_epoch = checkpoint["epoch"]
        best_acc1 = checkpoint["best_acc1"]
        model.load_state_dict(checkpoint["state_dict"])
        optimizer.load_state_dict(checkpoint["optimizer"])
    if args.evaluate:
        print("accuracy", validate(val_loader, model, criterion, args)[1])
        return

    started = time.time()
    for epoch in range(args.start_epoch, args.epochs):
        lr = adjust_learning_rate(optimizer, epoch, args)
        train_loss, train_acc1 = train(train_loader, model, criterion, optimizer, epoch, args)
        val_loss, val_acc1 = validate(val_loader, model, criterion, args)
        is_best = val_acc1 > best_acc1
        best_acc1 = max(val_acc1, best_acc1)
        state = {
            "epoch": epoch + 1,
            "arch": args.arch,
            "state_dict": model.state_dict(),
            "best_acc1": best_acc1,
            "optimizer": optimizer.state_dict(),
        }
        save_checkpoint(state, is_best, args.output)
        print(f"epoch {epoch} lr {lr:g} train {train_loss:.6f} {train_acc1:.3f} val {val_loss:.6f} {val_acc1:.3f}")
    print(f"best {best_acc1:.3f}")
    logger.info("training took %.1f s", time.time() - started)


if __name__ == "__main__":
    main()
