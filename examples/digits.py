"""Train a small convolutional net on real handwritten digits (8×8 pixels, shipped with scikit-learn).

python digits.py learning_rate=0.03 channels=32
hypertuner run digits.py learning_rate=0.001 --from brave-otter@best
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import hypertuner


class DigitNet(nn.Module):
    """Two convolutions and a linear layer: 1×8×8 pixels in, 10 scores out."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(8 * channels, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.features(images))
        return scores


def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training images and labels, validation images and labels; always the same split."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, val = order[:1200], order[1200:]
    return images[train], labels[train], images[val], labels[val]


@torch.no_grad()
def evaluate(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    net.eval()
    scores = net(images)
    net.train()
    return {
        "val_loss": nn.functional.cross_entropy(scores, labels).item(),
        "val_accuracy": (scores.argmax(1) == labels).float().mean().item(),
    }


def main() -> None:
    args = hypertuner.Args(
        learning_rate=0.01, optimizer="sgd", channels=16, dropout=0.1, batch_size=64, epochs=8, seed=0
    )
    torch.manual_seed(args.seed)
    images, labels, val_images, val_labels = digits()
    net = DigitNet(args.channels, args.dropout)
    saver = hypertuner.Saver(net, monitor="val_accuracy")
    logger = hypertuner.Logger()
    if args.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(net.parameters(), lr=args.learning_rate, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(net.parameters(), lr=args.learning_rate)

    logger.log(evaluate(net, val_images, val_labels), 0)
    for epoch in range(1, args.epochs + 1):
        total = 0.0
        for batch in torch.randperm(len(labels)).split(args.batch_size):
            loss = nn.functional.cross_entropy(net(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        values = evaluate(net, val_images, val_labels)
        logger.log({"loss": total / len(labels), **values}, epoch)
        saver.save(epoch)
        print(f"epoch {epoch}: loss {total / len(labels):.4f}  val_accuracy {values['val_accuracy']:.4f}")


if __name__ == "__main__":
    main()
