"""Operators of mmcv as plain loops, from their definitions; nothing here imports the code under test."""

import math

import numpy as np
import torch

F32 = np.float32


def iou(a, b, offset=0):
    """IoU of two boxes, every step rounded to float32."""
    a, b, offset = [F32(v) for v in a], [F32(v) for v in b], F32(offset)
    width = max(F32(0), min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(F32(0), min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    with np.errstate(divide='ignore', invalid='ignore'):
        return width * height / (area_a + area_b - width * height)


def nms(boxes, scores, threshold, offset=0):
    """Kept indices, best first."""
    waiting = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    for i in waiting:
        if not any(iou(boxes[k], boxes[i], offset) > F32(threshold) for k in kept):
            kept.append(i)
    return kept


def nms_match(boxes, scores, threshold):
    groups = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        for group in groups:
            if iou(boxes[group[0]], boxes[i]) >= F32(threshold):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def soft_nms(boxes, scores, threshold, sigma, min_score, method, offset=0):
    """(index, score) of the kept boxes, in the order they are chosen; scores must be distinct."""
    waiting = {i: F32(s) for i, s in enumerate(scores)}
    chosen = []
    while waiting:
        best = max(waiting, key=waiting.get)
        chosen.append((best, waiting.pop(best)))
        for i in list(waiting):
            overlap = iou(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                waiting[i] *= F32(math.exp(-overlap * overlap / F32(sigma)))
            elif overlap >= F32(threshold):
                waiting[i] *= F32(1) - overlap if method == 'linear' else F32(0)
            if waiting[i] < F32(min_score):
                del waiting[i]
    return chosen


def bilinear(image, y, x):
    """Value of (C, H, W) at (y, x) as in RoI align: the border extends half a cell and a half, beyond is zero."""
    height, width = image.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return image[:, 0, 0] * 0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = image[:, top, left] * (1 - dx) + image[:, top, right] * dx
    lower = image[:, bottom, left] * (1 - dx) + image[:, bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def roi_align(features, rois, bins, scale, ratio, mode, aligned):
    """Differentiable in `features`."""
    result = []
    for index, *box in rois.tolist():
        x1, y1, x2, y2 = (v * scale - (0.5 if aligned else 0.0) for v in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        down = ratio or max(math.ceil(height / bins[0]), 0)
        across = ratio or max(math.ceil(width / bins[1]), 0)
        for row in range(bins[0]):
            for column in range(bins[1]):
                samples = [
                    bilinear(
                        features[int(index)],
                        y1 + (row + (i + 0.5) / down) * height / bins[0],
                        x1 + (column + (j + 0.5) / across) * width / bins[1],
                    )
                    for i in range(down)
                    for j in range(across)
                ]
                if not samples:
                    # compiled mmcv: nothing to average is 0, the maximum of nothing -10000
                    result.append(features[0, :, 0, 0] * 0 - (10000 if mode == 'max' else 0))
                elif mode == 'max':
                    result.append(torch.stack(samples).max(0).values)
                else:
                    result.append(torch.stack(samples).mean(0))
    # (regions * rows * columns, C) -> (regions, C, rows, columns)
    return torch.stack(result).reshape(len(rois), *bins, -1).permute(0, 3, 1, 2)


def roi_align_in_half(features, rois, bins, scale):
    """Aligned average pooling as compiled mmcv computes it in fp16: every coordinate, weight and sum is rounded."""

    def half(value):
        return torch.as_tensor(value, dtype=torch.float16)

    height, width = features.shape[2:]
    result = []
    for index, *box in rois.half():
        x1, y1, x2, y2 = (v * half(scale) - half(0.5) for v in box)
        steps = [(y2 - y1) / half(bins[0]), (x2 - x1) / half(bins[1])]
        counts = [math.ceil(step) for step in steps]
        for row in range(bins[0]):
            for column in range(bins[1]):
                total = features.new_zeros(features.shape[1])
                for i in range(counts[0]):
                    for j in range(counts[1]):
                        y = y1 + half(row) * steps[0] + half(i + 0.5) * steps[0] / half(counts[0])
                        x = x1 + half(column) * steps[1] + half(j + 0.5) * steps[1] / half(counts[1])
                        y, x = y.clamp(0, height - 1), x.clamp(0, width - 1)
                        top, left = int(y), int(x)
                        low, right = min(top + 1, height - 1), min(left + 1, width - 1)
                        ly, lx = y - half(top), x - half(left)
                        hy, hx = half(1) - ly, half(1) - lx
                        image = features[int(index)]
                        corners = (
                            (hy * hx, top, left),
                            (hy * lx, top, right),
                            (ly * hx, low, left),
                            (ly * lx, low, right),
                        )
                        value = features.new_zeros(features.shape[1])
                        for weight, at_row, at_column in corners:
                            value = value + weight * image[:, at_row, at_column]
                        total = total + value
                result.append(total / half(counts[0] * counts[1]))
    return torch.stack(result).reshape(len(rois), *bins, -1).permute(0, 3, 1, 2)


def zero_padded(image, y, x):
    """Value of (C, H, W) at (y, x), the map continued by zeros; differentiable in everything."""
    height, width = image.shape[1:]
    top, left = math.floor(y.detach()), math.floor(x.detach())
    total = image[:, 0, 0] * 0
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < height and 0 <= column < width:
            total = total + image[:, row, column] * (1 - (y - row).abs()) * (1 - (x - column).abs())
    return total


def deform_conv(images, offset, mask, weight, bias, stride, padding, dilation, groups, offset_groups):
    """Stride, padding, dilation are (height, width)."""
    batch, channels = images.shape[:2]
    out, per_group, kernel_h, kernel_w = weight.shape
    height, width = offset.shape[2:]
    share = channels // offset_groups
    result = images.new_zeros(batch, out, height, width)
    for b in range(batch):
        for h in range(height):
            for w in range(width):
                columns = []
                for i in range(kernel_h):
                    for j in range(kernel_w):
                        parts = []
                        for g in range(offset_groups):
                            cell = (g * kernel_h + i) * kernel_w + j
                            y = h * stride[0] - padding[0] + i * dilation[0] + offset[b, 2 * cell, h, w]
                            x = w * stride[1] - padding[1] + j * dilation[1] + offset[b, 2 * cell + 1, h, w]
                            part = zero_padded(images[b, g * share : (g + 1) * share], y, x)
                            parts.append(part if mask is None else part * mask[b, cell, h, w])
                        columns.append(torch.cat(parts))
                # (C, kernel height * kernel width)
                column = torch.stack(columns, 1)
                for o in range(out):
                    first = o // (out // groups) * per_group
                    result[b, o, h, w] = (column[first : first + per_group] * weight[o].flatten(1)).sum()
    return result if bias is None else result + bias[:, None, None]


def psa_mask(window, kind, size):
    """(B, rows * columns, H, W) -> (B, H * W, H, W)."""
    batch, _, height, width = window.shape
    result = window.new_zeros(batch, height * width, height, width)
    for b in range(batch):
        for h in range(height):
            for w in range(width):
                for i in range(size[0]):
                    for j in range(size[1]):
                        y, x = h + i - (size[0] - 1) // 2, w + j - (size[1] - 1) // 2
                        if not (0 <= y < height and 0 <= x < width):
                            continue
                        value = window[b, i * size[1] + j, h, w]
                        if kind == 'collect':
                            result[b, y * width + x, h, w] = value
                        else:
                            result[b, h * width + w, y, x] = value
    return result


def carafe(features, masks, size, groups, scale):
    batch, channels, height, width = features.shape
    result = features.new_zeros(batch, channels, height * scale, width * scale)
    for b in range(batch):
        for c in range(channels):
            group = c // (channels // groups)
            for y in range(height * scale):
                for x in range(width * scale):
                    for i in range(size):
                        for j in range(size):
                            row, column = y // scale + i - size // 2, x // scale + j - size // 2
                            if 0 <= row < height and 0 <= column < width:
                                weight = masks[b, (group * size + i) * size + j, y, x]
                                result[b, c, y, x] = result[b, c, y, x] + features[b, c, row, column] * weight
    return result


def ms_deform_attn(value, shapes, locations, weights):
    """Cell centres of a level with H rows lie at (i + 0.5) / H."""
    batch, _, heads, depth = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    result = value.new_zeros(batch, queries, heads, depth)
    for b in range(batch):
        for q in range(queries):
            for head in range(heads):
                start = 0
                for level, (height, width) in enumerate(shapes.tolist()):
                    cells = value[b, start : start + height * width, head]
                    image = cells.T.reshape(depth, height, width)
                    start += height * width
                    for p in range(points):
                        x, y = locations[b, q, head, level, p]
                        sample = zero_padded(image, y * height - 0.5, x * width - 0.5)
                        result[b, q, head] = result[b, q, head] + sample * weights[b, q, head, level, p]
    return result.flatten(2)
