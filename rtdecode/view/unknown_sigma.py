"""Localizations whose sigma nobody stated (another program's table) get a width, so that a picture shows them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rtdecode.core.localizations import Localizations

UNKNOWN_NM = 20.0  # a usual precision: neither a blot nor a speck


def drawable(found: Localizations) -> Localizations:
    """The same, with 20 nm for a lateral sigma that is not a number and 0 for an axial one. For pictures only."""
    if not any(np.isnan(sigma).any() for sigma in (found.sigma_x_nm, found.sigma_y_nm, found.sigma_z_nm)):
        return found
    return replace(
        found,
        sigma_x_nm=np.nan_to_num(found.sigma_x_nm, nan=UNKNOWN_NM),
        sigma_y_nm=np.nan_to_num(found.sigma_y_nm, nan=UNKNOWN_NM),
        sigma_z_nm=np.nan_to_num(found.sigma_z_nm, nan=0.0),
    )
