"""Skeletons fitted to pose images, and pose images rendered from skeletons."""

import numpy as np
import pytest
import torch
from PIL import Image

from data.pose.camera import HEIGHT, WIDTH, project
from data.pose.colors import LIMBS
from data.pose.fitting import find_style, fit_joints
from data.pose.picture import draw_pose
from data.pose.rendering import COURSE_STYLE, DEMO_STYLE, ENDS, render
from data.pose.skeleton import JOINTS, joints_of
from demo.motion import dance

H, W = 32, 64


@pytest.fixture(scope="module")
def whole() -> tuple[torch.Tensor, torch.Tensor]:
    """Places (N, J, 2) of joints that are all in the picture, and their pose images."""
    joints = joints_of(dance(np.random.default_rng(0), 500))[::5]
    places = project(joints)
    inside = ((places >= 0) & (places < (WIDTH, HEIGHT))).all(axis=(1, 2))
    size = (W, H)
    images = [draw_pose(j).resize(size, Image.Resampling.BILINEAR) for j in joints[inside]]
    places = torch.from_numpy(places[inside] * (W / WIDTH)).float()
    return places, torch.from_numpy(np.stack([np.asarray(image) for image in images]))


def shown_in(places: torch.Tensor) -> torch.Tensor:
    """All limbs but the face, which not every pose image has."""
    return (torch.arange(len(ENDS)) < len(LIMBS)).expand(len(places), -1)


def errors(fitted, places: torch.Tensor, well: torch.Tensor) -> torch.Tensor:
    """Pixels by which the joints of trunk, arms and legs are off, where the fit says it is well."""
    ends = [j for j, name in enumerate(JOINTS) if j in ENDS[: len(LIMBS)] and "heel" not in name]
    return (fitted.places - places).norm(dim=-1)[well][:, ends]


def assert_found(places: torch.Tensor, images: torch.Tensor, style, well_fitted: float, off: float):
    """Fit the images: more than a part of them well, and the joints of those with small errors."""
    assert find_style(images).width == style.width
    fitted = fit_joints(images)
    well = fitted.residual < 0.05
    assert well.float().mean() > well_fitted
    found = errors(fitted, places, well)
    assert found.median() < off
    assert (found < 0.5).float().mean() > 0.8


def test_joints_are_found_from_the_demos_pose_images(whole):
    places, images = whole
    assert len(images) > 60
    assert_found(places, images, DEMO_STYLE, well_fitted=0.8, off=0.25)


def test_joints_are_found_from_the_courses_thin_lines(whole):
    places, _ = whole
    images = render(places, shown_in(places), H, W, COURSE_STYLE)
    images = (255 * images).round().byte().permute(0, 2, 3, 1)
    assert_found(places, images, COURSE_STYLE, well_fitted=0.7, off=0.2)


def test_joints_are_found_in_large_images(whole):
    """As well as in small ones, in pixels of those."""
    places, _ = whole
    scale = 4
    images = render(places * scale, shown_in(places), H * scale, W * scale, DEMO_STYLE)
    fitted = fit_joints((255 * images).round().byte().permute(0, 2, 3, 1), DEMO_STYLE)
    assert (fitted.residual < 0.05).float().mean() > 0.8
    fitted = fitted._replace(places=fitted.places / scale)
    off = errors(fitted, places, fitted.residual < 0.05)
    assert off.median() < 0.25
    assert (off < 0.5).float().mean() > 0.8


def test_the_residual_says_where_the_fit_failed(whole):
    _, images = whole
    ruined = images.clone()
    ruined[::2] = images[::2].flip(2)  # left to right, with the colors of the wrong side
    ruined[::2, :, 20:40] = images[::2, :, 20:40].roll(9, dims=1)
    fitted = fit_joints(ruined)
    assert fitted.residual[::2].median() > 5 * fitted.residual[1::2].median()


def test_a_blank_image_shows_no_limb():
    fitted = fit_joints(torch.full((3, H, W, 3), 255, dtype=torch.uint8))
    assert not fitted.shown.any()
    assert fitted.residual.max() == 0


def test_a_rendered_pose_is_the_picture_of_it_in_any_size(whole):
    """Against lines that another library draws larger and resizes."""
    places, images = whole
    for scale in (1, 2):
        ours = render(places * scale, shown_in(places), H * scale, W * scale, DEMO_STYLE)
        if scale == 1:
            theirs = images.permute(0, 3, 1, 2) / 255
            below_neck = places[:, 0, 1].int()
            for one, other, row in zip(ours, theirs, below_neck.tolist()):
                assert (one - other)[:, row + 2 :].abs().mean() < 0.012
                blank = (1 - other)[:, row + 2 :].mean()
                assert (one - other)[:, row + 2 :].abs().mean() < 0.4 * blank
        else:
            ink = (1 - ours).sum((1, 2, 3)) / 4
            smaller = (1 - render(places, shown_in(places), H, W, DEMO_STYLE)).sum((1, 2, 3))
            torch.testing.assert_close(ink, smaller, rtol=0.05, atol=0)


def test_limbs_that_are_not_shown_leave_nothing(whole):
    places, _ = whole
    nothing = torch.zeros(len(places), len(ENDS), dtype=torch.bool)
    assert (render(places, nothing, H, W, COURSE_STYLE) == 1).all()
