"""Files as pose estimators write them, by their public specifications and by nothing of ours.

OpenPose: doc/02_output.md; BODY_23: Everybody Dance Now, `map_25_to_23`. COCO: cocodataset.org
"Data format". Halpe-26 and COCO-WholeBody: their repositories' tables. MediaPipe: the guide "Pose
landmark detection".
"""

import json
from pathlib import Path

import numpy as np

from data.pose.skeleton import JOINT, joints_of
from demo.motion import dance

SIZE = 640, 480  # pixels of the pictures, width and height
BODY_25 = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee "
    "LAnkle REye LEye REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
)
COCO_18 = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist RHip RKnee RAnkle LHip LKnee LAnkle "
    "REye LEye REar LEar"
)
# Of BODY_25, as Everybody Dance Now's own rendering reorders it.
BODY_23 = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 22, 23, 12, 13, 14, 19, 20, 0, 15, 17, 16, 18]
COCO_17 = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow "
    "right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle "
    "right_ankle"
)
HALPE_26 = (
    f"{COCO_17} head neck hip left_big_toe right_big_toe left_small_toe right_small_toe left_heel "
    "right_heel"
)
WHOLEBODY_23 = (  # the first of 133
    f"{COCO_17} left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel"
)
MEDIAPIPE_33 = (
    "nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer "
    "left_ear right_ear mouth_left mouth_right left_shoulder right_shoulder left_elbow right_elbow "
    "left_wrist right_wrist left_pinky right_pinky left_index right_index left_thumb right_thumb "
    "left_hip right_hip left_knee right_knee left_ankle right_ankle left_heel right_heel "
    "left_foot_index right_foot_index"
)
ORDERS = {
    "BODY_25": BODY_25.split(),
    "COCO-18": COCO_18.split(),
    "BODY_23": [BODY_25.split()[index] for index in BODY_23],
    "COCO": COCO_17.split(),
    "Halpe-26": HALPE_26.split(),
    "WholeBody": WHOLEBODY_23.split() + ["face"] * 68 + [f"left_hand_{k}" for k in range(21)]
    + [f"right_hand_{k}" for k in range(21)],
    "MediaPipe": MEDIAPIPE_33.split(),
}  # fmt: skip
SAME = {"nose": "nose", "neck": "neck", "midhip": "mid_hip", "hip": "mid_hip"}
PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "heel")
TOES = {"openpose": "bigtoe", "coco": "big_toe", "mediapipe": "foot_index"}


def ours(name: str, order: str) -> str | None:
    """Return our name of a joint of theirs, None for what we have no joint for."""
    if name.lower() in SAME:
        return SAME[name.lower()]
    special = {"left_index": "hand_left", "right_index": "hand_right"}
    special |= {"left_hand_9": "hand_left", "right_hand_9": "hand_right"}
    if name in special:
        return special[name]
    for side, short in (("left", "L"), ("right", "R")):
        for part in (*PARTS, *TOES.values()):
            spelled = f"{short}{part}".lower() if "_" not in part else None
            if name.lower() == spelled or name == f"{side}_{part}":
                return f"{'toe' if part in TOES.values() else part}_{side}"
    return None


def danced(frames: int) -> np.ndarray:
    """Joints (T, J, 2) of a dance in pictures of SIZE, every joint of a frame at its own place."""
    joints = joints_of(dance(np.random.default_rng(3), frames))
    x, y, z = np.moveaxis(joints, -1, 0)
    places = np.stack([320 + 1000 * x / z, 370 - 900 * y / z], axis=-1)
    return np.clip(places, 2, np.array(SIZE) - 2)


def joints_in(order: str) -> list[str]:
    return [joint for name in ORDERS[order] if (joint := ours(name, order))]


def keypoints(places: np.ndarray, order: str, sure: float = 0.9) -> np.ndarray:
    """Order joints (J, 2) as a format has them: (K, 3), zeros where it is not known."""
    rows = []
    for name in ORDERS[order]:
        joint = ours(name, order)
        x, y = places[JOINT[joint]] if joint else (1.0, 1.0)
        rows.append([x, y, sure] if np.isfinite(x) else [0, 0, 0])
    return np.array(rows, float)


def write_openpose(folder: Path, dance: np.ndarray, order: str = "BODY_25") -> Path:
    """A folder as `openpose.bin --write_json` fills it."""
    folder.mkdir(parents=True)
    for number, places in enumerate(dance):
        flat = keypoints(places, order).reshape(-1).round(5).tolist()
        person = {"person_id": [-1], "pose_keypoints_2d": flat, "face_keypoints_2d": []}
        people = [person] if np.isfinite(places).any() else []
        file = folder / f"clip_{number:012d}_keypoints.json"
        file.write_text(json.dumps({"version": 1.3, "people": people}))
    return folder


def coco_results(dance: np.ndarray, order: str = "COCO") -> list:
    return [
        {
            **{"image_id": number, "category_id": 1, "score": 0.98},
            "keypoints": keypoints(places, order).reshape(-1).tolist(),
        }
        for number, places in enumerate(dance)
        if np.isfinite(places).any()
    ]


def coco_annotations(dance: np.ndarray) -> dict:
    """The annotation file of a COCO data set; visibility 2 is labeled and visible."""
    images = [
        {"id": 1000 - number, "file_name": f"{number:06d}.jpg", "width": 640, "height": 480}
        for number in range(len(dance))
    ]
    annotations = [
        {
            **{"id": number, "image_id": 1000 - number, "category_id": 1},
            "keypoints": keypoints(places, "COCO", 2).reshape(-1).tolist(),
        }
        for number, places in enumerate(dance)
        if np.isfinite(places).any()
    ]
    categories = [{"id": 1, "name": "person", "keypoints": COCO_17.split()}]
    return {"images": images, "annotations": annotations, "categories": categories}


def mmpose(dance: np.ndarray, order: str = "COCO", first: int = 0) -> list:
    """What MMPose's Inferencer saves of a video; its demos count `frame_id` from 1."""
    frames = []
    for number, places in enumerate(dance):
        values = keypoints(places, order)
        person = {
            **{"keypoints": values[:, :2].tolist(), "keypoint_scores": values[:, 2].tolist()},
            **{"bbox": [[0, 0, 10, 10]], "bbox_score": 0.9},
        }
        found = [person] if np.isfinite(places).any() else []
        frames.append({"frame_id": number + first, "instances": found})
    return frames


def mmpose_demo(dance: np.ndarray) -> dict:
    names = dict(enumerate(COCO_17.split()))
    meta = {"dataset_name": "coco", "num_keypoints": 17, "keypoint_id2name": names}
    return {"meta_info": meta, "instance_info": mmpose(dance, first=1)}


def ultralytics(dance: np.ndarray) -> list:
    """`[json.loads(result.to_json()) for result in model(video, stream=True)]`"""
    frames = []
    for places in dance:
        x, y, visible = keypoints(places, "COCO").T.tolist()
        person = {
            **{"name": "person", "class": 0, "confidence": 0.9, "track_id": 1},
            "keypoints": {"x": x, "y": y, "visible": visible},
        }
        frames.append([person] if np.isfinite(places).any() else [])
    return frames


def landmarks(places: np.ndarray, size: tuple[int, int]) -> list[dict]:
    """MediaPipe's landmarks of a person: shares of the picture (width, height)."""
    rows = keypoints(places, "MediaPipe", 0.95)
    return [{"x": x / size[0], "y": y / size[1], "z": -0.1, "visibility": v} for x, y, v in rows]


def mediapipe(dance: np.ndarray, size: tuple[int, int]) -> list:
    """A list with a dictionary for every frame, as people save the Tasks API's result."""
    frames = []
    for places in dance:
        pose = [landmarks(places, size)] if np.isfinite(places).any() else []
        world = [[{"x": 0.1, "y": 0.2, "z": 0.3}] * 33] if pose else []
        frames.append({"pose_landmarks": pose, "pose_world_landmarks": world})
    return frames


def mediapipe_csv(dance: np.ndarray, size: tuple[int, int]) -> str:
    """A row for every frame: x0, y0, z0, v0, x1, …"""
    lines = ["frame," + ",".join(f"{axis}{k}" for k in range(33) for axis in "xyzv")]
    for number, places in enumerate(dance):
        if np.isfinite(places).any():
            rows = landmarks(places, size)
            values = [f"{value:.6f}" for row in rows for value in row.values()]
            lines.append(",".join([str(number), *values]))
    return "\n".join(lines) + "\n"


def plain_csv(dance: np.ndarray) -> str:
    """The table that docs/data.md defines, a row for every joint."""
    lines = ["frame,joint,x,y,confidence"]
    for number, places in enumerate(dance):
        for joint, (x, y) in zip(JOINT, places):
            if np.isfinite(x):
                lines.append(f"{number},{joint},{x:.2f},{y:.2f},0.9")
    return "\n".join(lines) + "\n"
