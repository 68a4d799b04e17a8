"""Requests that make little sense, drawn by hypothesis."""

from __future__ import annotations

import base64
import io
import json
import string

import numpy as np
from hypothesis import strategies as st
from PIL import Image

_buffer = io.BytesIO()
_image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
Image.fromarray(_image).save(_buffer, format="PNG")
PICTURE = _buffer.getvalue()

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(string.printable, max_size=20)
    | st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(string.ascii_letters, max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)
damaged_pictures = st.builds(
    lambda at, byte: base64.b64encode(PICTURE[:at] + bytes([byte]) + PICTURE[at + 1 :]).decode(),
    st.integers(0, len(PICTURE)),
    st.integers(0, 255),
) | st.integers(0, len(PICTURE)).map(lambda at: base64.b64encode(PICTURE[:at]).decode())
parameters = st.dictionaries(
    st.sampled_from(["top_k", "threshold", "raw", "other"]), values, max_size=3
)
_requests = (
    st.fixed_dictionaries({"inputs": values | st.lists(damaged_pictures, max_size=3)})
    | st.fixed_dictionaries({"inputs": values, "params": parameters | values})
    | st.fixed_dictionaries(
        {"inputs": st.just([base64.b64encode(PICTURE).decode()]), "params": parameters}
    )
    | st.dictionaries(
        st.sampled_from(["inputs", "instances", "dataframe_split", "dataframe_records", "params"]),
        values,
        max_size=3,
    )
    | values
)
bodies = _requests.map(lambda request: json.dumps(request).encode()) | st.binary(max_size=200)
content_types = st.sampled_from(
    ["application/json"] * 6
    + ["text/csv", "application/json; charset=utf-8", "application/vnd.apache.parquet", "x"]
)
