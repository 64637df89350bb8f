"""Augmentation and normalization on the device: pure functions that can be jitted.

Images are uint8 [B, H, W, C] and stay so until `normalize`, which comes last. What an operation
takes beside images can be one value, or one for each image, [B]. Random forms take a key, or one
key for each image; an image's draws come from its own key alone.
"""

from input_pipeline.augment.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    adjust_hue,
    adjust_saturation,
    invert,
    permute_channels,
    posterize,
    rgb_to_grayscale,
    solarize,
    solarize_add,
)
from input_pipeline.augment.crop import (
    center_crop,
    crop,
    erase,
    five_crop,
    horizontal_flip,
    pad,
    ten_crop,
    vertical_flip,
    zoom_out,
)
from input_pipeline.augment.filters import adjust_sharpness, gaussian_blur, pillow_gaussian_blur
from input_pipeline.augment.geometry import affine, elastic, perspective, rotate
from input_pipeline.augment.histogram import autocontrast, equalize
from input_pipeline.augment.normalization import (
    LIGHTING_EIGENVALUES,
    LIGHTING_EIGENVECTORS,
    lighting,
    normalize,
    random_crop_with_padding,
    random_flip,
)
from input_pipeline.augment.resize import resize, resized_crop
from input_pipeline.augment.combine import (
    compose,
    fold_in,
    image_keys,
    random_apply,
    random_choice,
    random_order,
    switch,
)
from input_pipeline.augment.operations import OPS, TIMM_OPS, apply_ops, timm_op
