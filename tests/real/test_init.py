"""What `init` proposes for a real folder as people have them."""

from __future__ import annotations

from pathlib import Path

from depthforge.sources.proposing import propose
from depthforge.yaml_files import parse_yaml


def test_poses_one_off_the_images_on_a_robot_hand_are_found(shared_data: Path) -> None:
    proposal = propose(shared_data / "real/table_d435i", is_real=True)
    block = parse_yaml(proposal.manifest, where="proposed").value["source"]
    assert proposal.fill_in == ()
    assert block["depth"] == "images_depths/{frame}.png"
    assert block["pose"] == {"file": "T_data/T_base2ee0{frame}.npz", "offset": -1, "T_hand_cam": "hand_eye.txt"}
    assert block["camera"] == {"matrix_file": "config/intrinsics_matrix.npy"}
