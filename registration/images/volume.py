"""A CT image or a label image with its geometry; voxels meet the patient through the affine only."""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinematics.arrays import FloatArray, read_only
from kinematics.durable import write_via
from kinematics.errors import InvalidInputError
from registration.images.nifti_file import fault, is_nifti, written_whole
from registration.images.nifti_geometry import geometry
from registration.images.text_header import META_SUFFIXES, NRRD_SUFFIXES, check_text_header

_DUST = 1e-12


@dataclass(frozen=True, eq=False)
class Volume:
    """An image on a regular grid, read-only.

    Args:
        voxels: Shape (ni, nj, nk), HU (int16) or labels (uint8/uint16); kept C-ordered. An array that owns its data
            is taken over and frozen, for images are large: whoever handed it over cannot write to it any more. A
            view of an array that can be written to is copied.
        affine: Shape (4, 4): voxel index (i, j, k, 1) of a voxel's centre to DICOM LPS coordinates [mm] of `frame`.
        frame: `ct` (the planning CT) or `check` (the CT with needles).
        file: Where it came from, for error messages.
        notes: What its reader decided about it, to be told to the operator; handed on to whatever is made of it.

    Raises:
        InvalidInputError: Not three axes, or an affine that is not orthogonal.
    """

    voxels: NDArray[Any]
    affine: FloatArray
    frame: str = "ct"
    file: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or min(self.voxels.shape) < 1:
            raise InvalidInputError("an image has three axes", value=self.voxels.shape, file=self.file)
        affine = read_only(self.affine, (4, 4))
        columns = affine[:3, :3]
        spacing = np.linalg.norm(columns, axis=0)
        if (spacing < 1e-6).any() or not np.allclose(columns.T @ columns, np.diag(spacing**2), atol=1e-4):
            raise InvalidInputError(
                "the image's axes are not orthogonal (sheared or tilted)",
                file=self.file,
                remedy="resample it to an orthogonal grid first",
            )
        object.__setattr__(self, "voxels", _frozen(self.voxels))
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> FloatArray:
        """Voxel spacing [mm] along i, j, k, shape (3,)."""
        spacing: FloatArray = np.linalg.norm(self.affine[:3, :3], axis=0)
        return spacing

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxel counts along i, j, k."""
        ni, nj, nk = self.voxels.shape
        return ni, nj, nk

    def points_mm(self, indices: Any) -> FloatArray:
        """Map (fractional) voxel indices, shape (..., 3), to LPS points [mm] of the frame."""
        return np.asarray(indices, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def indices(self, points_mm: Any) -> FloatArray:
        """Map LPS points [mm], shape (..., 3), to fractional voxel indices."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        return (np.asarray(points_mm, dtype=np.float64) - self.affine[:3, 3]) @ inverse.T

    def same_grid(self, other: Volume, tolerance_mm: float = 0.01) -> bool:
        """Tell whether both images have the same voxel count and the same corners to `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return bool(np.abs(self.points_mm(corners) - other.points_mm(corners)).max() <= tolerance_mm)

    def crop(self, low: Any, high: Any) -> Volume:
        """Return the part with voxel indices low ≤ index < high (clipped to the image), geometry kept."""
        first = np.clip(np.asarray(low, dtype=int), 0, self.shape)
        last = np.clip(np.asarray(high, dtype=int), first, self.shape)
        affine = self.affine.copy()
        affine[:3, 3] = self.points_mm(first)
        box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        return Volume(self.voxels[box], affine, self.frame, self.file, self.notes)

    def with_voxels(self, voxels: NDArray[Any]) -> Volume:
        """Return an image with the same geometry and other voxels of the same shape."""
        if voxels.shape != self.voxels.shape:
            raise InvalidInputError("voxels do not fit the grid", value=voxels.shape, limit=self.shape)
        return Volume(voxels, self.affine, self.frame, self.file, self.notes)

    def sha256(self) -> str:
        """Return a digest of voxels, type and geometry."""
        digest = hashlib.sha256(self.voxels.tobytes())
        digest.update(repr((self.voxels.dtype.str, self.shape)).encode())
        digest.update(np.round(self.affine, 3).tobytes())
        return digest.hexdigest()


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a C-ordered, read-only view of `array` that nobody can write behind, copied only where that takes it."""
    owner = np.ascontiguousarray(array)
    if not owner.flags.owndata and not _cannot_change(owner):
        owner = owner.copy()
    owner.flags.writeable = False
    # A view of a frozen array cannot be made writable again.
    return owner.view()


def _cannot_change(view: NDArray[Any]) -> bool:
    """Tell whether a view, and every array below it down to the one that owns the data, is read-only."""
    array: Any = view
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes)


def to_sitk(volume: Volume) -> Any:
    """Return the volume as a SimpleITK image (LPS, the same world coordinates)."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(volume.voxels.transpose(2, 1, 0))
    affine = without_dust(volume.affine)
    image.SetSpacing([float(s) for s in volume.spacing_mm])
    image.SetOrigin([float(v) for v in affine[:3, 3]])
    image.SetDirection((affine[:3, :3] / volume.spacing_mm).ravel().tolist())
    return image


def without_dust(affine: FloatArray) -> FloatArray:
    """Return the affine with entries below 1e-12 set to 0: ITK inverts a matrix with tinier ones to nothing at all."""
    clean: FloatArray = np.where(np.abs(affine) < _DUST, 0.0, affine)
    return clean


def from_sitk(image: Any, frame: str = "ct", file: str | None = None) -> Volume:
    """Return a SimpleITK image as a volume with voxels (i, j, k)."""
    import SimpleITK as sitk

    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine, frame, file)


def read_image(path: Path, frame: str = "ct") -> Volume:
    """Read a NIfTI-1, NRRD or MetaImage file.

    A NIfTI image is placed by `nifti_geometry`; the others by what their header says, which has to say it.

    Raises:
        InvalidInputError: Missing, of another kind, unreadable, truncated, not three-dimensional, or silent or in
            contradiction with itself about where it lies in the patient.
    """
    import SimpleITK as sitk

    if not path.is_file():
        raise InvalidInputError("the image is not there", file=str(path), remedy="check the path")
    if not is_nifti(path) and not path.name.lower().endswith((*NRRD_SUFFIXES, *META_SUFFIXES)):
        raise InvalidInputError(
            "this kind of image file is not read (an Analyze or NIfTI pair does not say how it lies in the patient)",
            value=path.suffix or "no suffix",
            limit="a DICOM folder, .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd",
            file=str(path),
            remedy="convert the original DICOM series to one of these, or name its folder",
        )
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    placed, damage, image = None, (fault(path) if is_nifti(path) else None), None
    if damage is None:
        check_text_header(path)
        placed = geometry(path) if is_nifti(path) else None
        try:
            image = sitk.ReadImage(str(path))
        except RuntimeError as error:
            damage = str(error).strip().splitlines()[-1].split(": ")[-1]
    if image is None:
        raise InvalidInputError(
            f"the image cannot be read: it is damaged, truncated or of an unknown kind ({damage})",
            file=str(path),
            remedy="fetch or export it again (NIfTI-1, NRRD or MetaImage)",
        )
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InvalidInputError(
            "an image has three axes and one channel",
            value=(image.GetDimension(), image.GetNumberOfComponentsPerPixel()),
            limit=(3, 1),
            file=str(path),
            remedy="export a single three-dimensional volume",
        )
    if placed is None:
        return from_sitk(image, frame, str(path))
    affine, notes = placed
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine, frame, str(path), notes)


def write_image(volume: Volume, path: Path) -> None:
    """Write the volume (format by suffix; NIfTI is compressed lightly), whole or not at all. Raises StorageError."""
    import SimpleITK as sitk

    image = to_sitk(volume)

    def write(temporary: Path) -> None:
        sitk.WriteImage(image, str(temporary), True, 1)
        if is_nifti(temporary) and not written_whole(temporary, volume.voxels.nbytes):
            raise OSError(errno.ENOSPC, "the image was cut short: no space left, or a limit on the size of files")

    write_via(path, write)
