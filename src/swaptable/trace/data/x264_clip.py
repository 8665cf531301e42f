# The clip whose encoding is in x264.npz: shapes that move over a noisy ground, as YUV4MPEG2.
# Imports numpy; run by any Python 3 that has it.
# Used by `make traces`, which encodes what it prints.
"""Write FRAMES frames of 4:2:0 video to stdout, seeded."""

import sys

import numpy as np

WIDTH, HEIGHT, FRAMES = 480, 272, 60
rng = np.random.default_rng(6)
out = sys.stdout.buffer
out.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C420jpeg\n".encode())
y, x = np.mgrid[:HEIGHT, :WIDTH]
ground = rng.integers(0, 60, (HEIGHT * 2, WIDTH * 2), dtype=np.uint8)
for t in range(FRAMES):
    luma = ground[t : t + HEIGHT, 2 * t : 2 * t + WIDTH].astype(np.int16) + (x + y + t) // 8
    for k in range(5):
        left, top = WIDTH * (0.5 + 0.4 * np.sin(t / (9 + k) + k)), HEIGHT * (0.5 + 0.35 * np.cos(t / 11 - k))
        luma[(x - left) ** 2 + (y - top) ** 2 < (24 + 6 * k) ** 2] += 40 + 20 * k
    luma = np.clip(luma + rng.integers(-3, 4, luma.shape), 0, 255).astype(np.uint8)
    chroma = np.stack([luma[::2, ::2] // 2 + 64, 191 - luma[1::2, 1::2] // 2])
    out.write(b"FRAME\n" + luma.tobytes() + chroma.tobytes())
