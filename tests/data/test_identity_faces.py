import subprocess
import sys
import textwrap

import numpy as np

from idfsr_jax.data.index import FaceImages, load_index

from .conftest import PEOPLE, synthetic_records
