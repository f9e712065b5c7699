"""The settings that are one word of several: what settings, commands and help list alike."""

from typing import Literal, get_args

NetworkName = Literal[
    "cnn",
    "unet_small",
    "unet",
    "unet_large",
    "dynunet",
    "segresnet",
    "attention_unet",
    "swin_unetr",
    "efficientnet",
    "efficientnet_lite2",
    "backbone",
    "ensemble",
]
FittedCalibration = Literal["platt", "isotonic"]
LossName = Literal["bce", "bce_dice", "winner", "lovasz", "bce_lovasz"]
Precision = Literal["auto", "fp32", "bf16"]
TrainPrecision = Literal["auto", "fp32", "bf16", "fp16"]
Schedule = Literal["cosine", "onecycle", "plateau"]
Kept = Literal["best", "last"]
TrackerName = Literal["tensorboard", "mlflow"]
RleForm = Literal["relative", "absolute"]
IdSource = Literal["uid", "stem"]
EngineName = Literal["auto", "torch", "openvino", "onnx"]
ResultKind = Literal["seg", "map", "sr", "gsps", "sc"]
"""Binary segmentation, probability map, structured report, presentation state, picture."""

RESULT_KINDS: tuple[ResultKind, ...] = get_args(ResultKind)
MatchBy = Literal["uid", "stem", "path"]
Match = Literal["", MatchBy]
"""What a table calls an image by; empty: any of them."""

MaskReaders = Literal["union", "majority"]
"""Which pixels count of a mask that several readers drew: any reader's, or most readers'."""

MaskTarget = Literal["siim", "absolute", "coco", "png", "tiff", "nifti", "seg"]
PointName = Literal["default", "sensitive", "specific", "rule"]
"""The operating points that a model may hold."""

ExportTarget = Literal["onnx", "openvino"]
