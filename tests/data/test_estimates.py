"""What estimators write is read: files written from their specifications, and single persons."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from pose_format import Pose, pose_header
from pose_format.numpy.pose_body import NumPyPoseBody

from core.errors import UserError
from data.estimates.alignment import check_length, counted_from_0, in_picture
from data.estimates.following import follow
from data.estimates.keypoints import joint_named
from data.estimates.reading import read_poses
from data.estimates.table import write
from data.pose.skeleton import JOINT, JOINTS
from tests.support import estimators as theirs
from tests.support.estimators import SIZE
from tests.support.mutations import mutations

FRAMES = 6


@pytest.fixture(scope="module")
def truth():
    """Joints of a dance; nobody is seen in frame 3."""
    places = theirs.danced(FRAMES)
    places[3] = np.nan
    return places


def pose_file(path, library_dance):
    """A file as `video_to_pose` writes it, by the library itself."""
    names = theirs.ORDERS["MediaPipe"]
    component = pose_header.PoseHeaderComponent(
        "POSE_LANDMARKS", [name.upper() for name in names], [], [], "XYZC"
    )
    size = pose_header.PoseHeaderDimensions(*SIZE, 1000)
    values = np.stack([theirs.keypoints(places, "MediaPipe") for places in library_dance])
    places = np.concatenate([values[..., :2], np.zeros((*values.shape[:2], 1))], axis=-1)
    poses = NumPyPoseBody(30, places[:, None], values[:, None, :, 2])
    with path.open("wb") as file:
        Pose(pose_header.PoseHeader(0.2, size, [component]), poses).write(file)


def write_as(name, folder, places):
    """Write a dance as a format has it; return where, and the joints that the format has."""
    kind, _, order = name.partition(" ")
    path = folder / f"{kind}.json"
    if kind == "openpose":
        return theirs.write_openpose(folder / "poses", places, order), theirs.joints_in(order)
    if name == "pose-format":
        pose_file(folder / "clip.pose", places)
        return folder / "clip.pose", theirs.joints_in("MediaPipe")
    if kind.endswith("csv"):
        text = theirs.mediapipe_csv(places, SIZE) if order else theirs.plain_csv(places)
        (path := folder / "poses.csv").write_text(text)
        return path, theirs.joints_in("MediaPipe") if order else list(JOINTS)
    content = {
        "coco": lambda: theirs.coco_results(places, order),
        "annotations": lambda: theirs.coco_annotations(places),
        "mmpose": lambda: theirs.mmpose(places, order),
        "mmpose-demo": lambda: theirs.mmpose_demo(places),
        "ultralytics": lambda: theirs.ultralytics(places),
        "mediapipe": lambda: theirs.mediapipe(places, SIZE),
    }[kind]()
    path.write_text(json.dumps(content))
    return path, theirs.joints_in({"mediapipe": "MediaPipe"}.get(kind, order or "COCO"))


FORMATS = [
    *("openpose BODY_25", "openpose COCO-18", "openpose BODY_23", "coco COCO", "coco Halpe-26"),
    *("coco WholeBody", "annotations", "mmpose COCO", "mmpose Halpe-26", "mmpose-demo"),
    *("ultralytics", "mediapipe", "csv", "csv mediapipe", "pose-format"),
]


@pytest.mark.parametrize("name", FORMATS)
def test_joints_come_back_within_half_a_pixel(name, truth, tmp_path):
    path, joints = write_as(name, tmp_path, truth)
    estimates = in_picture(read_poses(path), *SIZE, path, None)
    found = follow(estimates, FRAMES)
    known = [JOINT[joint] for joint in joints]
    off = np.abs(found[:, known] - truth[:, known])
    assert np.nanmax(off) < 0.5
    assert np.isnan(found[3]).all()
    # Neck and mid-hip are made where the format lacks them, and nothing else is.
    others = set(range(len(JOINTS))) - set(known) - {JOINT["neck"], JOINT["mid_hip"]}
    assert np.isnan(found[:, sorted(others)]).all()
    middle = truth[0, [JOINT["hip_right"], JOINT["hip_left"]]].mean(axis=0)
    if "mid_hip" not in joints:
        assert np.allclose(found[0, JOINT["mid_hip"]], middle, atol=0.5)


def test_which_eye_is_which():
    """The orders differ in what comes first: people's right in OpenPose, their left in COCO."""
    assert theirs.ORDERS["BODY_25"].index("REye") < theirs.ORDERS["BODY_25"].index("LEye")
    assert theirs.ORDERS["COCO"].index("left_eye") < theirs.ORDERS["COCO"].index("right_eye")
    # Everybody Dance Now's 23 points keep eye and ear of a side together.
    assert theirs.ORDERS["BODY_23"][19:] == ["REye", "REar", "LEye", "LEar"]


def one_frame(folder, values):
    path = folder / "clip_0_keypoints.json"
    person = {"pose_keypoints_2d": np.asarray(values, float).reshape(-1).tolist()}
    path.write_text(json.dumps({"people": [person]}))
    return folder


@pytest.mark.parametrize("missing", [(0, 0, 0), (0, 0, 0.7), (-1, -1, 0.7), (-1, -1, -1)])
def test_a_joint_that_was_not_found_is_not_drawn(missing, truth, tmp_path):
    values = theirs.keypoints(truth[0], "BODY_25")
    values[theirs.ORDERS["BODY_25"].index("LWrist")] = missing
    (person,) = read_poses(one_frame(tmp_path, values)).frames[0]
    assert np.isnan(person.places[JOINT["wrist_left"]]).all()
    assert np.isfinite(person.places[JOINT["wrist_right"]]).all()
    assert person.places[person.found].min() > 0


@pytest.mark.parametrize(
    ("scale", "shift"), [(1 / np.array(SIZE), 0), (2 / np.array(SIZE), -1)], ids=["0..1", "-1..1"]
)
def test_normalized_openpose(scale, shift, truth, tmp_path):
    folder = theirs.write_openpose(tmp_path / "poses", truth * scale + shift)
    estimates = in_picture(read_poses(folder), *SIZE, folder, None)
    known = [JOINT[joint] for joint in theirs.joints_in("BODY_25")]
    assert np.nanmax(np.abs(follow(estimates, FRAMES) - truth)[:, known]) < 0.5


def test_the_names_of_formats():
    assert joint_named("LEFT_FOOT_INDEX") == "toe_left"
    assert joint_named("RBigToe") == "toe_right"
    assert joint_named("rear") == joint_named("REar") == "ear_right"
    assert joint_named("left_eye_inner") is None
    assert all(joint_named(joint) == joint for joint in JOINTS)


def test_the_table_that_is_written_is_read(truth, tmp_path):
    write(tmp_path / "joints.csv", dict(enumerate(truth)))
    found = follow(read_poses(tmp_path / "joints.csv"), FRAMES)
    assert np.nanmax(np.abs(found - truth)) < 0.01
    assert (np.isnan(found) == np.isnan(truth)).all()


def table_without(columns, places):
    """The table of a dance without some of its columns."""
    names = [f"{joint}_{axis}" for joint in JOINTS for axis in "xy"]
    rows = [[n, *joints.reshape(-1)] for n, joints in enumerate(places)]
    kept = [index for index, name in enumerate(["frame", *names]) if name not in columns]
    lines = [",".join(["frame", *names][index] for index in kept)]
    lines += [",".join("" if np.isnan(row[i]) else f"{row[i]:.6g}" for i in kept) for row in rows]
    return "\n".join(lines) + "\n"


def test_without_a_column_frame_a_row_is_a_frame(truth, tmp_path):
    """So a table that has left a frame out is not taken for one of every frame."""
    (path := tmp_path / "poses.csv").write_text(table_without({"frame"}, truth))
    estimates = read_poses(path)
    assert np.nanmax(np.abs(follow(estimates, FRAMES) - truth)) < 0.01
    assert "without a column frame" in estimates.format
    check_length(estimates, FRAMES, path, tmp_path / "clip.mp4")
    with pytest.raises(UserError, match="poses of 6 frames for the 9 of clip"):
        check_length(estimates, FRAMES + 3, path, tmp_path / "clip.mp4")


def test_points_without_a_joint_of_ours_are_passed_over(truth, tmp_path):
    header, *rows = table_without({}, truth).splitlines()
    for name in ("left_eye_inner", "MOUTH_LEFT", "right_pinky", "LSmallToe", "Head", "bbox"):
        header += f",{name}_x,{name}_y"
        rows = [f"{row},1,2" for row in rows]
    (path := tmp_path / "poses.csv").write_text("\n".join([header, *rows, ""]))
    assert np.nanmax(np.abs(follow(read_poses(path), FRAMES) - truth)) < 0.01


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("labels.json", '{"version": "5.1", "shapes": [], "imagePath": ""}', "object with version"),
        ("boxes.json", '[{"image_id": 1, "bbox": [0, 0, 1, 1]}]', "list of 1, each an object with"),
        ("cut.json", '{"people": [', "no JSON"),
        ("mpi.json", '{"people": [{"pose_keypoints_2d": [1, 2, 0.5]}]}', "3 numbers, not 75"),
        ("few.json", '[{"image_id": 0, "keypoints": [1, 2, 3]}]', "1 keypoints, not 17"),
        ("odd.json", '[{"image_id": "x.jpg", "keypoints": []}]', "no number"),
        ("deep.json", "[" * 100_000, "nested too deeply"),
        ("other.csv", "a,b\n1,2\n", "a table with the header 'a,b'"),
        (
            "seventeen.csv",
            ",".join(f"x{k},y{k}" for k in range(17)) + "\n",
            "17 numbered keypoints",
        ),
        (
            "half.csv",
            "frame,Wrist_Left_X,nose_x,nose_y\n0,1,2,3\n",
            "without a column Wrist_Left_y",
        ),
        ("sure.csv", "frame,nose_x,nose_y,neck_score\n0,1,2,1\n", "without a column neck_x"),
        ("half.csv", ",".join(f"x{k},y{k}" for k in range(32)) + ",x32\n", "a column y32"),
        ("near.csv", "frame,nose_x,nose_y,kneeleft_x,kneeleft_y\n", "the nearest is knee_left"),
        ("row.csv", "frame,joint,x,y\n0,elbow_lft,1,2\n", "row 1: no joint is called 'elbow_lft'"),
        ("many.csv", "person,nose_x,nose_y\n0,1,2\n", "a column person, and no column frame"),
        ("text.csv", "frame,nose_x,nose_y\n0,here,1\n", "'here' is no number"),
        ("short.csv", "frame,nose_x,nose_y\n0,1\n", "row 1 has 2 columns"),
        ("nobody.json", '[{"frame_id": 0, "instances": []}]', "nobody in any of 1 frames"),
        ("none.pose", "not one", "not a .pose file"),
    ],
)
def test_another_format_is_named(name, content, said, tmp_path):
    (path := tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        read_poses(path)
    assert said in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_with_a_hole(truth, tmp_path):
    folder = theirs.write_openpose(tmp_path / "poses", truth)
    (folder / "clip_000000000002_keypoints.json").unlink()
    with pytest.raises(UserError, match="the file before is of frame 1"):
        read_poses(folder)


@pytest.mark.parametrize("name", ["openpose BODY_25", "coco COCO", "mediapipe", "csv mediapipe"])
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(mutate=mutations())
def test_damaged_files_are_refused_or_read(mutate, name, truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    path, _ = write_as(name, folder, truth)
    file = min(path.iterdir()) if path.is_dir() else path
    file.write_bytes(mutate(file.read_bytes()))
    try:
        estimates = counted_from_0(in_picture(read_poses(path), *SIZE, path, None), 0, path)
    except UserError as error:
        said = str(error)
    else:
        said = path.name
        follow(estimates, FRAMES)
    assert path.name in said
