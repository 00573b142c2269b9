"""Training of the CNN-LSTM classifier; epoch and threshold are chosen on validation, the test side is read once.

A plain PyTorch loop: it takes a `report` callable and a folder, and needs no Ray.
"""

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_utils.augment import apply_augmentation, draw_augmentation, to_float
from data_utils.dataset import Dataset, Side
from models.batch_norm import synchronise_batch_norm
from models.classifier import Classifier, build_classifier
from models.generator import parameter_count
from results.stats.metrics import binary_metrics
from study.config import TrialConfig
from study.diagnosis.frozen import FrozenFeatures, frozen_features
from study.diagnosis.loss import classifier_loss
from study.diagnosis.sets import Condition, predictions
from study.diagnosis.threshold import choose_threshold
from study.errors import Diverged
from study.storage.checkpoint import save_checkpoint
from study.storage.tensors import write_tensors
from study.training.precision import autocast
from study.training.seeds import derive_seed, make_generator
from study.training.withdrawal import leave_if_withdrawn
from study.training.workers import (
    average_gradients,
    is_first_worker,
    load_checkpoint,
    mean_over_workers,
    num_workers,
    share,
)

PREDICTION_BATCH = 128
CLASSIFIER_FILE = "classifier.safetensors"


def train_classifier(
    config: TrialConfig,
    dataset: Dataset,
    report: Callable[[dict], None],
    resume_from: Path,
    more_tests: Iterable[tuple[Condition, Side]] = (),
    micro_batches: int = 1,
    made_by: str = "",
) -> dict:
    """Train on the data set's train side (synthetic images included); returns the diagnosis columns.

    Under "predictions" the result holds one dict for each image of validation, test and `more_tests`. The latter are
    read once, at the end, and influence nothing.

    The weights of the epoch with the highest validation AUROC (ties: the lower validation loss) are kept. Then the
    threshold is chosen on validation, and the test side is read once. The kept weights are left in `resume_from` as
    `CLASSIFIER_FILE`; a checkpoint there is continued, unless `made_by` names another GAN of its synthetic images.
    `report` gets one dict an epoch; a continued training reports earlier epochs again.
    With `micro_batches` above 1 each batch is taken in that many pieces, and batch norm sees one piece at a time.
    Raises Diverged for a loss that is not finite.
    """
    train, validation = dataset.side("train"), dataset.side("validation")
    model, optimiser, history, best = start_or_continue(config, dataset.images.device, resume_from, made_by)
    for entry in history:
        report(entry)

    frozen, known = (frozen_features(config, model, side.images) for side in (train, validation))
    for epoch in range(len(history) + 1, config.classifier_epochs + 1):
        started = time.perf_counter()
        training_loss = run_epoch(config, model, optimiser, train, epoch, frozen, micro_batches)
        check_finite("training", training_loss, epoch)
        logits = predict(config, model, validation.images, known)
        loss = F.binary_cross_entropy_with_logits(logits, validation.labels.float())
        validation_loss = mean_over_workers(loss).item()  # all agree on whether it is finite
        check_finite("validation", validation_loss, epoch)  # the epoch's last step can break the weights
        auroc = binary_metrics(to_numpy(validation.labels), to_numpy(logits.sigmoid()), threshold=0.5)["auroc"]
        rank = (auroc, -validation_loss)
        if rank > tuple(best["rank"]):
            weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            best = {"rank": rank, "epoch": epoch, "weights": weights}
        history.append(
            {
                "stage": "classifier",
                "epoch": epoch,
                "seconds": (history[-1]["seconds"] if history else 0.0) + time.perf_counter() - started,
                "training_loss": training_loss,
                "validation_loss": validation_loss,
                "validation_auroc": auroc,
            }
        )
        if is_first_worker():
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "history": history, "best": best}
            save_checkpoint(resume_from, epoch, state | {"made_by": made_by})
        report(history[-1])
        leave_if_withdrawn(dataset.images.device)

    model.load_state_dict(best["weights"])
    if is_first_worker():
        weights = {name: tensor.contiguous() for name, tensor in best["weights"].items()}
        write_tensors(resume_from / CLASSIFIER_FILE, weights, "classifier")
    return {
        "classifier_epoch": best["epoch"],
        "classifier_seconds": history[-1]["seconds"],
        "classifier_parameters": parameter_count(model),
        **diagnose(config, model, dataset, more_tests),
    }


def start_or_continue(config: TrialConfig, device: torch.device, folder: Path, made_by: str) -> tuple:
    """(model, optimiser, history, best epoch so far) as the newest checkpoint left them, or new."""
    torch.manual_seed(derive_seed(seed_of(config), "classifier", "initial weights"))
    model = synchronise_batch_norm(new_classifier(config)).to(device, memory_format=torch.channels_last)
    model.features.requires_grad_(not config.classifier_frozen)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=config.classifier_lr, weight_decay=config.weight_decay, fused=True)
    state = load_checkpoint(folder, device)
    if not state or state.get("made_by") != made_by:
        return model, optimiser, [], {"rank": (-math.inf, -math.inf), "epoch": 0, "weights": {}}
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return model, optimiser, list(state["history"]), state["best"]


def seed_of(config: TrialConfig) -> int:
    """The seed of a classifier's training: the trial's, or another that comes of it and of `classifier_seed`."""
    return derive_seed(config.seed, "repeat", config.classifier_seed) if config.classifier_seed else config.seed


def check_finite(name: str, loss: float, epoch: int) -> None:
    """Raise Diverged for a loss from which a classifier does not recover."""
    if not math.isfinite(loss):
        raise Diverged(f"classifier diverged: {name} loss is {loss:g} in epoch {epoch}")


def new_classifier(config: TrialConfig, load_weights: bool = True) -> Classifier:
    """The classifier of a config, with new weights; see `build_classifier`."""
    return build_classifier(
        config.classifier_backbone,
        image_size=config.image_size,
        width=config.classifier_width,
        lstm_width=config.classifier_lstm_width,
        lstm_depth=config.classifier_lstm_depth,
        dropout=config.dropout,
        pretrained=config.classifier_pretrained,
        load_weights=load_weights,
    )


def run_epoch(
    config: TrialConfig,
    model: Classifier,
    optimiser: torch.optim.Optimizer,
    train: Side,
    epoch: int,
    frozen: FrozenFeatures | None = None,
    micro_batches: int = 1,
) -> float:
    """One pass over the training images, or over their `frozen` feature maps; returns the mean loss."""
    device = train.images.device
    batch_size = min(config.classifier_batch_size, len(train.labels) // num_workers() * num_workers())
    draws = make_generator(device, seed_of(config), "classifier", epoch)
    torch.manual_seed(derive_seed(seed_of(config), "dropout", epoch))
    model.train()
    steps = len(train.labels) // batch_size
    counts = train.labels.bincount(minlength=2)
    order = torch.randperm(len(train.labels), generator=draws, device=device)
    losses = []
    for step in range(steps):
        set_learning_rate(optimiser, config, (epoch - 1 + step / steps) / config.classifier_epochs)
        parameters = draw_augmentation(
            batch_size,
            draws,
            rotation=config.rotation,
            zoom=config.zoom,
            contrast=config.contrast,
            flip=config.classifier_flip,
        )
        rows, parameters = share(order[step * batch_size : (step + 1) * batch_size]), share(parameters)
        optimiser.zero_grad(set_to_none=True)
        for piece, piece_parameters in zip(rows.chunk(micro_batches), parameters.chunk(micro_batches), strict=True):
            logits = training_logits(config, model, train, frozen, piece, piece_parameters)
            loss = classifier_loss(logits.float(), train.labels[piece], config.balance, counts)
            loss = loss * (len(piece) / len(rows))
            loss.backward()
            losses.append(loss.detach())
        average_gradients(model.parameters())
        optimiser.step()
    return mean_over_workers(torch.stack(losses).sum() / steps).item()


def training_logits(
    config: TrialConfig,
    model: Classifier,
    train: Side,
    frozen: FrozenFeatures | None,
    rows: Tensor,
    parameters: Tensor,
) -> Tensor:
    """Logits (B,) of the augmented training images `rows`."""
    if frozen:
        with autocast(config, rows.device):
            return model.classify(frozen.augmented(rows, parameters))
    images = apply_augmentation(train.images[rows], parameters)  # in float32: bfloat16 would round coordinates
    with autocast(config, rows.device):
        return model(images.contiguous(memory_format=torch.channels_last))


def set_learning_rate(optimiser: torch.optim.Optimizer, config: TrialConfig, progress: float) -> None:
    """Cosine decay from `classifier_lr` to 0 over the training; `progress` in [0, 1]."""
    for group in optimiser.param_groups:
        group["lr"] = config.classifier_lr * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def predict(config: TrialConfig, model: Classifier, images: Tensor, known: FrozenFeatures | None = None) -> Tensor:
    """Logits float32 (N,) of uint8 images (N, 3, S, S) without augmentation, from their `known` feature maps if any."""
    model.eval()
    with autocast(config, images.device):
        if known:
            return torch.cat([model.classify(part).float() for part in known.plain.split(PREDICTION_BATCH)])
        batches = images.split(PREDICTION_BATCH)
        return torch.cat([model(to_float(b).contiguous(memory_format=torch.channels_last)).float() for b in batches])


def diagnose(config: TrialConfig, model: nn.Module, dataset: Dataset, more_tests: Iterable) -> dict:
    """Threshold from validation, then the metrics of validation and test at it, and every prediction."""
    rows = []

    def probabilities(condition: Condition, side: Side):
        found = to_numpy(predict(config, model, side.images).sigmoid())
        rows.extend(predictions(condition, side, found))
        return found

    sides = {name: dataset.side(name) for name in ("validation", "test")}
    found = {name: probabilities(Condition(name), side) for name, side in sides.items()}
    threshold = choose_threshold(to_numpy(sides["validation"].labels), found["validation"])
    metrics = {"threshold": threshold}
    for name, side in sides.items():
        of_side = binary_metrics(to_numpy(side.labels), found[name], threshold)
        metrics |= {f"{name}_{metric}": value for metric, value in of_side.items()}
    for condition, side in more_tests:
        probabilities(condition, side)
    return metrics | {"predictions": rows}


def to_numpy(tensor: Tensor):
    return tensor.cpu().numpy()
