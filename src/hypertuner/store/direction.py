"""Which way a metric gets better, told by its name.

`val_loss` goes down, `testAccuracy` and `mAP50` go up. A name is read as the words it is made of. The last word that
tells decides: `dice_loss` is a loss. `score` alone goes up, but any other word says more: `fid_score` goes down. `neg`
turns a name round, and a last word that speaks about a metric and is none (`loss_scale`, `acc_std`) makes it tell
nothing. None is an honest answer; a guess would call the wrong run best.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal

Direction = Literal["min", "max"]

_DOWN = frozenset(
    """
    loss losses err error errors wer cer ter der eer mer hter misclassification misclassified misses violations
    mse rmse msle rmsle mae mape smape mase nmse nrmse nmae sse rss crps pinball aic bic
    nll nllloss ce bce cse xent xentropy crossentropy ppl perplexity perplexities bpc bpb bpd
    fid kid fvd fad lpips hausdorff hd95 chamfer epe wasserstein hamming
    ece mce brier regret cost latency fpr fnr frr fdr divergence kld
    """.split()
)
_UP = frozenset(
    """
    acc accs accuracy accuracies top1 top3 top5 top10 f1 f2 fbeta fscore fmeasure
    dice jaccard iou miou giou ap map mar auc auroc aucroc rocauc auprc prauc aupr roc
    precision recall sensitivity specificity tpr tnr ppv npv mcc kappa gini lift
    bleu sacrebleu rouge meteor cider spice chrf bertscore bleurt comet em
    reward rewards rew return returns fitness success successes win wins winrate elo
    r2 corr correlation pearson spearman kendall pearsonr spearmanr kendalltau concordance
    psnr ssim msssim snr sdr sisdr sisnr pesq stoi mos vmaf
    ndcg dcg mrr hits hit hitrate silhouette nmi ari ami purity modularity
    likelihood loglik loglikelihood elbo throughput correct passed pass solved agreement
    """.split()
)
_PAIRS: dict[tuple[str, str], Direction] = {
    ("cross", "entropy"): "min",
    ("inception", "distance"): "min",
    ("edit", "distance"): "min",
    ("false", "positive"): "min",
    ("false", "positives"): "min",
    ("false", "negative"): "min",
    ("false", "negatives"): "min",
    ("true", "positive"): "max",
    ("true", "positives"): "max",
    ("true", "negative"): "max",
    ("true", "negatives"): "max",
    ("exact", "match"): "max",
    ("explained", "variance"): "max",
    ("r", "squared"): "max",
    ("r", "2"): "max",
    ("top", "1"): "max",
    ("top", "5"): "max",
}
_ABOUT = frozenset(
    """
    scale weight weights threshold coef coefficient factor alpha beta gamma lambda temperature std stddev stderr var
    variance count num steps epochs time seconds secs ms interval patience delta window decay fn type name function
    """.split()
)
# `valloss` and `testacc` are written as one word.
_ENDINGS: tuple[tuple[str, Direction], ...] = (
    ("loss", "min"),
    ("error", "min"),
    ("perplexity", "min"),
    ("accuracy", "max"),
    ("acc", "max"),
)


def direction(metric_name: str) -> Direction | None:
    """'min' or 'max' where the name tells that lower or higher is better, else None."""
    words = _words(metric_name)
    if words and words[-1] in _ABOUT and tuple(words[-2:]) not in _PAIRS:
        return None
    told = next((told for at in range(len(words) - 1, -1, -1) if (told := _told_at(words, at))), None)
    if told is None and any(word.endswith(("score", "scores")) for word in words):
        told = "max"
    if told and _is_negated(words):
        return "min" if told == "max" else "max"
    return told


def _words(name: str) -> list[str]:
    """The words of snake_case, camelCase, paths and `top-5`, in lower case; the number of `bleu4` is left out."""
    words: list[str] = []
    for part in re.findall(r"[^\W_]+", name):
        if _bare(part) in _UP | _DOWN:  # mIoU and mAP50 are no camelCase
            words.append(_bare(part))
        else:
            words += map(_bare, re.findall(r"[A-Z]+(?![^\WA-Z0-9_])[0-9]*|[A-Z]?[^\WA-Z0-9_]+[0-9]*|[0-9]+", part))
    return words


def _bare(word: str) -> str:
    """`word` in lower case, without a number at its end unless it belongs to the name, as in `f1`."""
    word = word.lower()
    return word if word in _UP or word in _DOWN else word.rstrip("0123456789") or word


def _told_at(words: list[str], at: int) -> Direction | None:
    word = words[at]
    if at and (pair := _PAIRS.get((words[at - 1], word))):
        return pair
    if word in _DOWN:
        return "min"
    if word in _UP:
        return "max"
    return next((told for ending, told in _ENDINGS if word.endswith(ending)), None)


def _is_negated(words: list[str]) -> bool:
    """`neg_mean_squared_error`, `negative_log_likelihood`; but `negative_recall` is that of the negative class."""
    return bool({"neg", "minus"}.intersection(words)) or ("negative", "log") in pairwise(words)
