"""A metric's name tells which way it gets better, or says honestly that it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypertuner.store.direction import direction

DOWN = """
    loss val_loss valLoss val/loss valloss train.loss loss_D lossG D_loss loss_1 total_loss loss_total train_loss_epoch
    train_loss_step dice_loss acc_loss crossEntropyLoss cross_entropy binary_crossentropy val_rmse RMSE mse MAE
    perplexity eval/perplexity ppl nll neg_log_likelihood negative_log_likelihood neg_accuracy WER cer error error_rate
    top1_err test-error FID fid_score frechet_inception_distance false_positive_rate fpr brier_score bpb lpips regret
""".split()
UP = """
    acc val_acc valAcc testacc test/accuracy acc@1 top1 top-5 top5_acc val_acc_epoch accuracy_best mAP mAP50 mAP50-95
    mAP_0.5:0.95 AP75 f1 F1 f1_macro macro-F1 f1_score r2 R2 R^2 bleu BLEU-4 rougeL rouge_l ROUGE-1 IoU mIoU mean_iou
    DiceScore score val_score inception_score bertscore neg_mean_squared_error log_likelihood reward episode_return
    ep_rew_mean auc AUROC roc_auc average_precision negative_recall ndcg@10 recall@5 hits@10 MRR exact_match psnr ssim
    explained_variance throughput true_positive_rate win_rate success_rate loss_accuracy
""".split()
SILENT = """
    lr learning_rate epoch step time grad_norm entropy kl approx_kl episode_length gpu_memory train_runtime
    tokens_per_second loss_scale lossScale loss_weight acc_std accuracy_threshold score_threshold loss_fn loss_type
    top momentum weight_decay accélération 損失 x - _ 1
""".split()


@pytest.mark.parametrize("name", DOWN)
def test_lower_is_better(name):
    assert direction(name) == "min"


@pytest.mark.parametrize("name", UP)
def test_higher_is_better(name):
    assert direction(name) == "max"


@pytest.mark.parametrize("name", [*SILENT, ""])
def test_a_name_that_does_not_tell_is_not_guessed(name):
    assert direction(name) is None


@given(st.text())
def test_any_name_gets_an_answer(name):
    assert direction(name) in ("min", "max", None)


@given(
    st.sampled_from(DOWN + UP), st.sampled_from(["val", "test", "eval", "client_3", "fold1"]), st.sampled_from("/_.")
)
def test_a_prefix_does_not_turn_a_metric_round(name, prefix, joint):
    assert direction(f"{prefix}{joint}{name}") == direction(name)
