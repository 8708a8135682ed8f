"""Things drawn in front of a face: masks, sunglasses, glasses, hands, microphones.

Shapes are signed distances on the pixel grid, antialiased over one pixel. They are drawn in the frame of the face: its
origin lies between the eyes, x runs from eye to eye, y towards the chin, and the distance of the eyes is 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

KINDS = ("mask", "sunglasses", "glasses", "hand", "microphone")
KIND_WEIGHTS = (0.25, 0.2, 0.25, 0.15, 0.15)
"""How often each of `KINDS` is drawn where something is."""


_Places = tuple[Float[Array, "S S"], Float[Array, "S S"]]


class _Face(NamedTuple):
    """What a covering is drawn by.

    Attributes:
      places: x and y of the pixels in the face's frame, planes of their own: so a compiler's loops run over pixels.
      points: the landmarks, in the face's frame.
      unit: pixels from eye to eye.
      light: brightness of the surroundings of each pixel over that of the whole face, about 1.
      skin: mean colour of nose and cheeks, in [0, 1].
      brightness: of the skin.
    """

    places: _Places
    points: Float[Array, "68 2"]
    unit: Float[Array, ""]
    light: Float[Array, "S S"]
    skin: Float[Array, "3"]
    brightness: Float[Array, ""]


class _Layer(NamedTuple):
    """What is drawn: colour in [0, 1], opacity, and distance from it, in pixels, for the shadow it casts."""

    colour: Float[Array, "S S 3"]
    opacity: Float[Array, "S S"]
    distance: Float[Array, "S S"]


def draw_coverings(
    key: PRNGKeyArray,
    images: Float[Array, "b S S 3"],
    landmarks: Float[Array, "b 68 2"],
    probability: float | Float[Array, ""],
) -> Float[Array, "b S S 3"]:
    """Draws something in front of some faces.

    Args:
      key: source of randomness.
      images: crops in [-1, 1].
      landmarks: dlib's 68 points of each, unit coordinates.
      probability: that something is drawn; each of `KINDS` by its weight. May be traced.

    Returns:
      The crops in [-1, 1]; those without a covering are unchanged.
    """
    b = images.shape[0]
    covered_key, kind_key, key = jax.random.split(key, 3)
    covered = jax.random.bernoulli(covered_key, probability, (b,))
    kinds = jax.random.categorical(kind_key, jnp.log(jnp.array(KIND_WEIGHTS)), shape=(b,))
    drawn = cover(key, images, landmarks, kinds)
    return jnp.where(covered[:, None, None, None], drawn, images)


def cover(
    key: PRNGKeyArray, images: Float[Array, "b S S 3"], landmarks: Float[Array, "b 68 2"], kinds: Int[Array, "b"]
) -> Float[Array, "b S S 3"]:
    """Draws in front of every face what `kinds` (indices into `KINDS`) says; see `draw_coverings`."""
    return jax.vmap(_cover)(jax.random.split(key, images.shape[0]), images, landmarks, kinds)


def _cover(
    key: PRNGKeyArray, image: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"], kind: Int[Array, ""]
) -> Float[Array, "S S 3"]:
    values = 0.5 * image + 0.5
    face = _face_of(values, landmarks)
    draw = (_mask, _sunglasses, _glasses, _hand, _microphone)
    # Below `vmap` a switch computes every branch; so it is written as what it is.
    layers = [each(key, face) for each in draw]
    layer = jax.tree.map(lambda *leaves: jnp.select([kind == i for i in range(len(draw))], leaves), *layers)
    shadow = 0.3 * jnp.exp(-jnp.maximum(layer.distance, 0.0) / (0.05 * face.unit))
    values = values * (1.0 - shadow)[..., None]
    values = values + layer.opacity[..., None] * (layer.colour - values)
    return jnp.clip(2.0 * values - 1.0, -1.0, 1.0)


def _face_of(values: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> _Face:
    size = values.shape[0]
    pixels = landmarks * size
    left, right = pixels[36:42].mean(axis=0), pixels[42:48].mean(axis=0)
    origin = (left + right) / 2.0
    # A profile brings the eyes together; the height of the face does not change then.
    height = jnp.linalg.norm(pixels[8] - origin) / 1.75
    unit = jnp.maximum(jnp.maximum(jnp.linalg.norm(right - left), 0.85 * height), 1.0)
    across = (right - left) / jnp.maximum(jnp.linalg.norm(right - left), 1e-3)
    axes = jnp.stack([across, jnp.array([-1.0, 1.0]) * across[::-1]], axis=-1) / unit
    centres = jnp.arange(size, dtype=jnp.float32) + 0.5
    x, y = centres[None, :] - origin[0], centres[:, None] - origin[1]
    places = (x * axes[0, 0] + y * axes[1, 0], x * axes[0, 1] + y * axes[1, 1])
    points = (pixels - origin) @ axes

    soft = jax.nn.softmax(-0.5 * jnp.square((centres[:, None] - centres) / (0.08 * size)), axis=-1)
    luma = soft @ values.mean(axis=-1) @ soft.T
    cheeks_and_nose = jnp.stack([points[30], (points[31] + points[2]) / 2.0, (points[35] + points[14]) / 2.0])
    near = sum((jnp.exp(-20.0 * _square_distance(places, spot)) for spot in cheeks_and_nose), jnp.zeros(()))
    skin = jnp.einsum("hw,hwc->c", near, values) / (near.sum() + 1e-6)
    brightness = skin.mean()
    light = jnp.clip(luma / (brightness + 0.05), 0.5, 1.5)
    return _Face(places, points, unit, light, skin, brightness)


def _mask(key: PRNGKeyArray, face: _Face) -> _Layer:
    """A surgical mask: from the bridge of the nose down to below the chin, three pleats, loops to the ears."""
    low, loose, hue, pale, dark, depth = jax.random.uniform(key, (6,))
    points = face.points
    bridge = points[28] + jnp.where(low < 0.15, 1.0, 0.6 * low) * (points[33] - points[28])
    chin = jnp.array([0.0, 0.06]) * _between(loose, 0.0, 2.0)
    centre = points[33]
    jaw = centre + _between(loose, 0.98, 1.08) * (points[3:14] - centre) + chin
    left, right = points[2], points[14]
    cheek_left, cheek_right = 0.5 * (bridge + left), 0.5 * (bridge + right)
    lift = jnp.array([0.0, 0.03])
    top = jnp.stack([right, cheek_right - lift, bridge + jnp.array([0.12, 0.02]), bridge - jnp.array([0.12, -0.02])])
    corners = jnp.concatenate([jaw, top, jnp.stack([cheek_left - lift, left])])
    cloth = _polygon(face.places, corners) - 0.03
    ears = points[jnp.array([0, 16])] + jnp.array([[-0.08, 0.1], [0.08, 0.1]])
    loops = _capsule(face.places, left, ears[0], 0.018)
    for start, end in ((right, ears[1]), (jaw[1], ears[0]), (jaw[-2], ears[1])):
        loops = jnp.minimum(loops, _capsule(face.places, start, end, 0.018))

    # Pleats bow: down in the middle, up towards the ears.
    x, y = face.places[0] - bridge[0], face.places[1] - bridge[1]
    along = (y + 0.25 * jnp.square(x)) / jnp.maximum(points[8, 1] - bridge[1], 0.3)
    folds = jnp.zeros_like(along)
    for place in (0.33, 0.5, 0.67):
        off = (along - place) / 0.035
        folds = folds + jnp.exp(-jnp.square(off)) - 0.6 * jnp.exp(-jnp.square(off - 1.5))
    round_off = 0.25 * jnp.exp(jnp.minimum(cloth, 0.0) / 0.15)
    colour = jnp.where(dark < 0.15, _between(pale, 0.05, 0.2), _between(pale, 0.8, 0.95)) + jnp.where(
        dark < 0.15, 0.02, 0.09
    ) * _hue(hue)
    shade = (1.0 - _between(depth, 0.05, 0.2) * folds - round_off) * jnp.sqrt(face.light)
    shade = shade * jnp.clip(face.brightness / 0.55, 0.35, 1.1)
    distance = jnp.minimum(cloth, loops)
    return _layer(face, colour * shade[..., None], distance, 1.0)


def _lenses(
    face: _Face,
    width: Float[Array, ""],
    height: Float[Array, ""],
    roundness: Float[Array, ""],
    drop: Float[Array, ""],
) -> tuple[Float[Array, "S S"], Float[Array, "S S"]]:
    """Signed distance from the two lenses, and distance from the line of bridge and temples.

    Width, height and roundness are factors, about 1; drop is how far below the eyes the lenses' centres are.
    """
    points = face.points
    middle, places = points[27], face.places
    lenses, wires = jnp.full_like(places[0], 1e3), jnp.full_like(places[0], 1e3)
    inner = []
    for corner, ear, side in ((36, 0, -1.0), (45, 16, 1.0)):
        # The eye's outer corner tells how wide perspective leaves this half of the face.
        half = jnp.maximum(0.55 * width * jnp.abs(points[corner, 0] - middle[0]), 0.12)
        eye = points[36:42].mean(axis=0) if corner == 36 else points[42:48].mean(axis=0)
        centre = jnp.stack([middle[0] + side * (half + 0.13 * width), eye[1] + drop])
        size = jnp.stack([half, 0.4 * height])
        lenses = jnp.minimum(lenses, _rounded_box(places, centre, size, roundness * jnp.min(size)))
        outer = centre + jnp.stack([side * half, -0.2 * height])
        end = jnp.stack([side * jnp.maximum(side * points[ear, 0], side * outer[0]), points[ear, 1] - 0.1])
        wires = jnp.minimum(wires, _capsule(places, outer, end, 0.0))
        inner.append(centre + jnp.stack([-side * half, -0.12 * height]))
    return lenses, jnp.minimum(wires, _capsule(places, inner[0], inner[1], 0.0))


def _sunglasses(key: PRNGKeyArray, face: _Face) -> _Layer:
    width, height, roundness, drop, dark, fade, hue, rim, opacity, shine = jax.random.uniform(key, (10,))
    lenses, wires = _lenses(
        face,
        _between(width, 0.95, 1.12),
        _between(height, 0.65, 0.95),
        _between(roundness, 0.4, 1.0),
        _between(drop, 0.0, 0.1),
    )
    thickness = _between(rim, 0.02, 0.06)
    frame = jnp.minimum(jnp.abs(lenses) - thickness / 2.0, wires - thickness / 2.0)
    tint = 0.03 * _hue(hue)
    y = face.places[1]
    glass = _between(dark, 0.03, 0.15) + _between(fade, 0.0, 0.25) * jnp.clip(y + 0.1, 0.0, 0.5)
    glass = glass + _streak(face, shine, 0.25)
    colour = jnp.where((frame < 0.5 / face.unit)[..., None], _between(hue, 0.02, 0.15), glass[..., None] + tint)
    opacity = jnp.where(frame < 0.5 / face.unit, 1.0, _between(opacity, 0.8, 1.0))
    return _layer(face, colour, jnp.minimum(lenses, frame), opacity)


def _glasses(key: PRNGKeyArray, face: _Face) -> _Layer:
    width, height, roundness, drop, rim, hue, strength, value, tint, shine = jax.random.uniform(key, (10,))
    lenses, wires = _lenses(
        face,
        _between(width, 0.85, 1.05),
        _between(height, 0.55, 0.85),
        _between(roundness, 0.3, 1.0),
        _between(drop, 0.0, 0.08),
    )
    thickness = _between(rim * rim, 0.02, 0.08)
    frame = jnp.minimum(jnp.abs(lenses) - thickness / 2.0, wires - jnp.minimum(thickness, 0.05) / 2.0)
    colour = _between(value * value, 0.05, 0.7) * (1.0 + _between(strength, 0.0, 0.6) * _hue(hue))
    colour = colour * jnp.sqrt(face.light)[..., None] * jnp.clip(face.brightness / 0.5, 0.4, 1.1)
    streak = _streak(face, shine, 1.0)
    colour = jnp.where((frame < 0.5 / face.unit)[..., None], colour, (0.35 + 0.5 * streak)[..., None])
    glass = _between(tint, 0.0, 0.15) + 0.35 * jnp.where(shine < 0.4, streak, 0.0)
    opacity = jnp.maximum(_coverage(face, frame), glass * _coverage(face, lenses))
    return _Layer(jnp.clip(colour, 0.0, 1.0), opacity, frame * face.unit)


def _hand(key: PRNGKeyArray, face: _Face) -> _Layer:
    """The back of a hand before mouth, chin or cheek: palm, fingers, wrist."""
    side, up, angle, spread, curl, tone, size = jax.random.uniform(key, (7,))
    side = 2.0 * side - 1.0
    mouth = face.points[48:68].mean(axis=0)
    size = _between(size, 0.8, 1.05)
    # Fingers point up and across the face from where the hand comes.
    turn = -side * _between(angle, 0.1, 0.9)
    ahead = jnp.stack([jnp.sin(turn), -jnp.cos(turn)])
    across = jnp.stack([-ahead[1], ahead[0]])
    palm = mouth + jnp.stack([0.7 * side, _between(up, 0.35, 0.9)])
    wrist = palm - 3.0 * ahead
    parts = [(palm - 0.1 * ahead, palm + 0.1 * ahead, 0.5), (palm - 0.3 * ahead, wrist, 0.38)]
    for finger, (place, length) in enumerate(((-0.36, 0.75), (-0.12, 0.95), (0.12, 1.0), (0.36, 0.85))):
        root = palm + size * (0.3 * ahead + place * across)
        lean = across * place * _between(spread, 0.0, 0.8)
        tip = root + size * length * _between(curl, 0.6, 1.0) * (ahead + lean)
        parts.append((root, tip, 0.135 - 0.01 * (finger == 3)))
    thumb = palm - size * 0.4 * across * jnp.sign(side)
    parts.append((thumb, thumb + size * (0.5 * ahead - 0.35 * across * jnp.sign(side)), 0.15))
    distance, depth = jnp.full_like(face.places[0], 1e3), jnp.zeros_like(face.places[0])
    for start, end, radius in parts:
        off = _capsule(face.places, start, end, radius * size)
        distance = jnp.minimum(distance, off)
        depth = jnp.maximum(depth, jnp.clip(-off / 0.135, 0.0, 1.0))
    # Roundness: bright where the surface faces the viewer, dark in the creases between fingers.
    shade = 0.72 + 0.34 * jnp.sqrt(1.0 - jnp.square(1.0 - depth) + 1e-6)
    colour = face.skin * _between(tone, 0.85, 1.1) * (shade * jnp.sqrt(face.light))[..., None]
    return _layer(face, colour, distance, 1.0)


def _microphone(key: PRNGKeyArray, face: _Face) -> _Layer:
    """A ball of dark mesh or foam at the mouth, on a stick that comes from below."""
    across, below, radius, angle, value, hue, strength = jax.random.uniform(key, (7,))
    mouth = face.points[48:68].mean(axis=0)
    radius = _between(radius, 0.25, 0.42)
    head = mouth + jnp.stack([_between(across, -0.4, 0.4), _between(below, 0.15, 0.6) + 0.5 * (radius - 0.25)])
    turn = _between(angle, -0.9, 0.9)
    away = jnp.stack([jnp.sin(turn), jnp.cos(turn)])
    x, y = face.places[0] - head[0], face.places[1] - head[1]
    ball = jnp.sqrt(_square_distance(face.places, head) + 1e-12) - radius
    stick = _capsule(face.places, head + 0.9 * radius * away, head + 5.0 * away, 0.6 * radius)
    # A sphere lit from above, a cylinder lit along its middle.
    depth = jnp.sqrt(jnp.clip(1.0 - _square_distance(face.places, head) / jnp.square(radius), 0.0, 1.0))
    ball_shade = 0.55 + 0.45 * depth - 0.35 * y / radius
    mesh = 0.15 * jnp.sin(x * 45.0) * jnp.sin(y * 45.0)
    off = (x * away[1] - y * away[0]) / (0.6 * radius)
    stick_shade = 0.5 + 0.6 * jnp.exp(-jnp.square((off - 0.3) / 0.3))
    tint = 1.0 + jnp.where(strength < 0.3, 0.6, 0.05) * _hue(hue)
    ball_colour = _between(value, 0.1, 0.4) * tint * (ball_shade + mesh)[..., None]
    stick_colour = _between(value, 0.06, 0.15) * stick_shade[..., None]
    colour = jnp.where((ball < 0.0)[..., None], ball_colour, stick_colour) * jnp.clip(face.brightness / 0.5, 0.5, 1.1)
    return _layer(face, colour, jnp.minimum(ball, stick), 1.0)


def _layer(
    face: _Face, colour: Float[Array, "S S 3"], distance: Float[Array, "S S"], opacity: float | Float[Array, "S S"]
) -> _Layer:
    return _Layer(jnp.clip(colour, 0.0, 1.0), opacity * _coverage(face, distance), distance * face.unit)


def _coverage(face: _Face, distance: Float[Array, "S S"]) -> Float[Array, "S S"]:
    """How much of each pixel lies inside, by its centre's distance."""
    return jnp.clip(0.5 - distance * face.unit, 0.0, 1.0)


def _streak(face: _Face, place: Float[Array, ""], strength: float) -> Float[Array, "S S"]:
    """A reflection across a lens: a soft slanting band in each."""
    off = jnp.abs(face.places[0] + 0.6 * face.places[1])
    return strength * jnp.exp(-jnp.square((off - _between(place, 0.3, 0.8)) / 0.1))


def _hue(angle: Float[Array, ""]) -> Float[Array, "3"]:
    """What a hue, 0 to 1 around the circle, adds to red, green and blue; sums to zero."""
    return jnp.cos(2.0 * jnp.pi * (angle - jnp.array([0.0, 1.0, 2.0]) / 3.0))


def _between(share: Float[Array, ""], low: float, high: float) -> Float[Array, ""]:
    return low + (high - low) * share


def _square_distance(places: _Places, spot: Float[Array, "2"]) -> Float[Array, "S S"]:
    return jnp.square(places[0] - spot[0]) + jnp.square(places[1] - spot[1])


def _square_distance_of_line(places: _Places, start: Float[Array, "2"], end: Float[Array, "2"]) -> Float[Array, "S S"]:
    line = end - start
    x, y = places[0] - start[0], places[1] - start[1]
    share = jnp.clip((x * line[0] + y * line[1]) / (jnp.square(line).sum() + 1e-12), 0.0, 1.0)
    return jnp.square(x - share * line[0]) + jnp.square(y - share * line[1])


def _polygon(places: _Places, corners: Float[Array, "k 2"]) -> Float[Array, "S S"]:
    """Signed distance from a simple polygon, negative inside; inside is what an odd number of edges lies beside of."""
    x, y = places
    distance, inside = jnp.full_like(x, 1e6), jnp.zeros_like(x, bool)
    for start, end in zip(corners, jnp.roll(corners, -1, axis=0), strict=True):
        distance = jnp.minimum(distance, _square_distance_of_line(places, start, end))
        height = jnp.where(end[1] == start[1], 1.0, end[1] - start[1])
        beside = x < start[0] + (end[0] - start[0]) / height * (y - start[1])
        inside = inside ^ (((start[1] > y) != (end[1] > y)) & beside)
    return jnp.where(inside, -1.0, 1.0) * jnp.sqrt(distance)


def _capsule(
    places: _Places, start: Float[Array, "2"], end: Float[Array, "2"], radius: float | Float[Array, ""]
) -> Float[Array, "S S"]:
    """Signed distance from a line with round ends."""
    return jnp.sqrt(_square_distance_of_line(places, start, end) + 1e-12) - radius


def _rounded_box(
    places: _Places, centre: Float[Array, "2"], half: Float[Array, "2"], radius: Float[Array, ""]
) -> Float[Array, "S S"]:
    """Signed distance from an upright rectangle with round corners."""
    x = jnp.abs(places[0] - centre[0]) - half[0] + radius
    y = jnp.abs(places[1] - centre[1]) - half[1] + radius
    outside = jnp.sqrt(jnp.square(jnp.maximum(x, 0.0)) + jnp.square(jnp.maximum(y, 0.0)) + 1e-12)
    return outside + jnp.minimum(jnp.maximum(x, y), 0.0) - radius
