# SPDX-License-Identifier: Apache-2.0
"""What a camera sees of a town, by panda3d's software renderer: surface colours and face numbers.

The renderer draws neither light nor fog. It gives, for every pixel, the albedo and the number of
the face (coded as a flat colour); from the face's plane follow the exact depth and normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ashtkd_ros.errors import VprError
from tools.render.mesh import Faces

PLANES_M = (0.25, 400.0)  # near and far
# States that nobody uses are let go, and the textures with them: elsewhere a task does that.
SETTINGS = (
    'load-display p3tinydisplay\nwindow-type offscreen\naux-display\nnotify-level-display fatal\n'
    'garbage-collect-states 0'
)


@dataclass
class Pixels:
    """albedo uint8 (h, w, 3) RGB, glow uint8 (h, w), face int32 (h, w) -1 where the sky is."""

    albedo: np.ndarray
    glow: np.ndarray
    face: np.ndarray


def load_panda3d():
    """The module panda3d.core; VprError where it is not installed."""
    try:
        from panda3d import core
    except ImportError as error:
        raise VprError(
            'panda3d is not installed: pip install -r tools/requirements/render.txt'
        ) from error
    return core


class Rasteriser:
    """Draws one town's faces; keep it for a whole walk."""

    def __init__(self, faces: Faces, textures: dict[str, np.ndarray]) -> None:
        if len(faces.points) >= 1 << 18:
            raise VprError(
                f'{len(faces.points)} faces are too many to number: build a smaller town'
            )
        core = load_panda3d()
        self._p3 = core
        core.loadPrcFileData('', SETTINGS)
        self._engine = core.GraphicsEngine()
        selection = core.GraphicsPipeSelection.getGlobalPtr()
        selection.makeModulePipe('p3tinydisplay')  # loads the module and thereby its types
        kind = core.TypeRegistry.ptr().findType('TinyOffscreenGraphicsPipe')
        self._pipe = selection.makePipe(kind)
        if self._pipe is None:
            raise VprError('panda3d lacks libX11 for its software renderer: apt install libx11-6')
        self._scene = self._textured(faces, textures)
        self._numbers = self._numbered(faces)
        self._cameras: dict = {}

    def perspective(
        self, width: int, height: int, hfov_deg: float, position, yaw: float
    ) -> Pixels:
        """A pinhole camera at position (3,) metres that looks along `yaw` (radians, level)."""
        lens = self._p3.PerspectiveLens()
        half = np.tan(np.radians(hfov_deg) / 2)
        lens.setFov(hfov_deg, 2 * float(np.degrees(np.arctan(half * height / width))))
        lens.setNearFar(*PLANES_M)
        forward = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        numbers, colours = self._draw(
            (self._numbers, self._scene), width, height, lens, position, forward
        )
        return Pixels(colours[..., :3], colours[..., 3], _decode(numbers))

    def orthographic(self, size: int, extent: float, position, forward) -> np.ndarray:
        """Face numbers int32 (size, size) of a square of `extent` metres seen along `forward`."""
        lens = self._p3.OrthographicLens()
        lens.setFilmSize(extent, extent)
        lens.setNearFar(1.0, PLANES_M[1])
        return _decode(self._draw((self._numbers,), size, size, lens, position, forward)[0])

    def _draw(self, roots, width: int, height: int, lens, position, forward) -> list[np.ndarray]:
        views = [self._view(k, root, width, height) for k, root in enumerate(roots)]
        for camera, _, _ in views:
            camera.node().setLens(lens)
            camera.setPos(*(float(v) for v in position))
            camera.lookAt(*(float(p + f) for p, f in zip(position, forward, strict=True)))
        for _, buffer, _ in views:
            buffer.setActive(True)
        self._engine.renderFrame()
        for _, buffer, _ in views:
            buffer.setActive(False)
        out = []
        for _, _, texture in views:
            flat = np.frombuffer(bytes(texture.getRamImageAs('RGBA')), dtype=np.uint8)
            out.append(flat.reshape(height, width, 4)[::-1])
        return out

    def _view(self, index: int, root, width: int, height: int):
        """Camera, buffer and picture for a root at a size; made once and kept."""
        key = (index, width, height)
        if key not in self._cameras:
            p3 = self._p3
            properties = p3.FrameBufferProperties()
            properties.setRgbaBits(8, 8, 8, 8)
            properties.setDepthBits(24)
            size = p3.WindowProperties.size(width, height)
            flags = p3.GraphicsPipe.BFRefuseWindow
            buffer = self._engine.makeOutput(self._pipe, str(key), 0, properties, size, flags)
            if buffer is None:
                raise VprError(
                    f'panda3d cannot make a picture of {width}x{height}: choose a smaller size'
                )
            buffer.setClearColor((0, 0, 0, 0))
            texture = p3.Texture()
            buffer.addRenderTexture(
                texture, p3.GraphicsOutput.RTMCopyRam, p3.GraphicsOutput.RTPColor
            )
            camera = root.attachNewNode(p3.Camera('camera'))
            buffer.makeDisplayRegion().setCamera(camera)
            self._cameras[key] = (camera, buffer, texture)
        return self._cameras[key]

    def _textured(self, faces: Faces, textures: dict[str, np.ndarray]):
        root = self._p3.NodePath('scene')
        root.setTwoSided(True)
        # Drawn in the order built; by address, as is the default, ties in depth would vary.
        root.setBin('unsorted', 0)
        names = np.array(faces.texture)
        tint = np.clip(faces.tint * 255, 0, 255).astype(np.uint8)
        for name in sorted(set(faces.texture)):
            chosen = names == name
            # One node per 24 m square, so that what is out of sight is skipped early.
            cell = np.floor(faces.points[:, 0, :2] / 24).astype(int)
            for square in np.unique(cell[chosen], axis=0):
                part = chosen & (cell == square).all(axis=1)
                node = root.attachNewNode(
                    self._geometry(faces.points[part], faces.uv[part], tint[part])
                )
                node.setTexture(self._texture(textures[name]))
        return root

    def _numbered(self, faces: Faces):
        root = self._p3.NodePath('numbers')
        root.setTwoSided(True)
        number = np.arange(len(faces.points))
        # Six bits a channel, in the middle of their interval: no rounding can change them.
        code = np.stack([number & 63, number >> 6 & 63, number >> 12 & 63], axis=1) * 4 + 2
        root.attachNewNode(self._geometry(faces.points, faces.uv, code.astype(np.uint8)))
        return root

    def _geometry(self, points: np.ndarray, uv: np.ndarray, colour: np.ndarray):
        p3, count = self._p3, len(points)
        data = p3.GeomVertexData('faces', p3.GeomVertexFormat.getV3c4t2(), p3.Geom.UHStatic)
        data.uncleanSetNumRows(4 * count)
        rows = np.zeros(4 * count, dtype=[('v', '<f4', 3), ('c', 'u1', 4), ('t', '<f4', 2)])
        rows['v'] = points.reshape(-1, 3)
        rows['c'][:, :3] = np.repeat(colour, 4, axis=0)
        rows['c'][:, 3] = 255
        rows['t'] = uv.reshape(-1, 2)
        memoryview(data.modifyArray(0)).cast('B')[:] = rows.tobytes()
        index = (4 * np.arange(count, dtype=np.uint32)[:, None] + [0, 1, 2, 0, 2, 3]).astype('<u4')
        triangles = p3.GeomTriangles(p3.Geom.UHStatic)
        triangles.setIndexType(p3.Geom.NTUint32)
        array = triangles.modifyVertices()
        array.uncleanSetNumRows(index.size)
        memoryview(array).cast('B')[:] = index.tobytes()
        geometry = p3.Geom(data)
        geometry.addPrimitive(triangles)
        node = p3.GeomNode('faces')
        node.addGeom(geometry)
        return node

    def _texture(self, picture: np.ndarray):
        p3 = self._p3
        texture = p3.Texture()
        height, width = picture.shape[:2]
        texture.setup2dTexture(width, height, p3.Texture.TUnsignedByte, p3.Texture.FRgba)
        texture.setRamImageAs(np.ascontiguousarray(picture[::-1]).tobytes(), 'RGBA')
        texture.setMinfilter(p3.SamplerState.FTLinearMipmapLinear)
        texture.setMagfilter(p3.SamplerState.FTLinear)
        return texture


def _decode(colours: np.ndarray) -> np.ndarray:
    code = colours[..., :3].astype(np.int32) >> 2
    face = code[..., 0] | code[..., 1] << 6 | code[..., 2] << 12
    return np.where(colours[..., :3].any(axis=2), face, -1)
