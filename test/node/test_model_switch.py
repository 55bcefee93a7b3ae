# SPDX-License-Identifier: Apache-2.0
"""Switching models by service, in process: the way, refusals, a restart, and the canary that calls for it by rule."""

import json
import threading

import pytest
from counting_network import ONE, TWO, counting_model, window
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import TransitionCallbackReturn

from neuro_ros.cores.snn_inference import SnnInferenceCore
from neuro_ros.msg import CanaryReport, Gesture, RolloutStatus, SnnTelemetry, SpikeTensor
from neuro_ros.nodes import conversion, qos
from neuro_ros.nodes.canary import CanaryNode
from neuro_ros.nodes.snn_inference import SnnInferenceNode
from neuro_ros.snn import keys, save_model
from neuro_ros.srv import SwitchModel

Request = SwitchModel.Request
SUCCESS = TransitionCallbackReturn.SUCCESS
SERVICE = "snn_inference/switch_model"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return the folder of a live model, a candidate that one spike is enough for, and one that never spikes."""
    folder = tmp_path_factory.mktemp("models")
    for name, vth in (("live", 100), ("quick", 50), ("mute", 1000)):
        save_model(counting_model(name, vth), folder / f"{name}.safetensors")
    return folder


class Stage:
    """The node, a camera and listeners."""

    def __init__(self, bed, models, **values):
        self.bed, self.models, self.sequence = bed, models, 0
        self.node = bed.make(
            SnnInferenceNode, parameters={"model": str(models / "live.safetensors"), "late_after_s": 3600.0, **values}
        )
        self.published = bed.collect(Gesture, "gesture", qos.WINDOWS)
        self.shadow = bed.collect(Gesture, "gesture/shadow", qos.WINDOWS)
        self.camera = bed.tester.create_publisher(SpikeTensor, "spikes", qos.publisher_qos("spikes"))
        self.up()

    def up(self):
        assert self.node.trigger_configure() == SUCCESS
        assert self.node.trigger_activate() == SUCCESS
        self.bed.until(lambda: self.camera.get_subscription_count() == 1, what="the node's subscription")
        for topic in ("gesture", "gesture/shadow"):
            self.bed.until(lambda name=topic: self.node.subscription_count(name) >= 1, what="our subscription")

    def show(self, cells=TWO):
        """Show a window, and return name of the model and spikes of class 0, as published."""
        expected = len(self.published) + 1
        self.camera.publish(conversion.to_ros(window(self.sequence, cells)))
        self.sequence += 1
        self.bed.until(lambda: len(self.published) == expected, what="a gesture")
        gesture = self.published[-1]
        assert gesture.sequence == self.sequence - 1
        return gesture.model_id.partition("-")[0], gesture.spike_counts[0]

    def switch(self, command, **fields):
        if command == Request.SHADOW:
            fields = {"model_path": str(self.models / "quick.safetensors"), **fields}
        return self.bed.call(SwitchModel, SERVICE, Request(command=command, **fields))

    def do(self, command, **fields):
        answer = self.switch(command, **fields)
        assert answer.accepted, answer.message
        return answer


@pytest.fixture
def stage(bed, models):
    return Stage(bed, models)


def test_the_whole_way_by_service(bed, stage):
    statuses = bed.collect(RolloutStatus, "rollout", qos.LATCHED)
    assert stage.switch(Request.STATUS).phase == CanaryReport.BASELINE
    assert stage.show(ONE) == ("live", 0)
    answer = stage.do(Request.SHADOW)
    assert (answer.phase, answer.candidate_id.partition("-")[0]) == (CanaryReport.SHADOW, "quick")
    assert stage.show(ONE) == ("live", 1)
    bed.until(lambda: stage.shadow, what="the shadow's gesture")
    assert stage.shadow[-1].model_id == answer.candidate_id
    answer = stage.do(Request.CANARY, share=1.0)
    assert (answer.phase, answer.share) == (CanaryReport.CANARY, 1.0)
    assert stage.show(ONE) == ("quick", 1)
    assert stage.do(Request.PROMOTE).phase == CanaryReport.PROMOTED
    assert stage.show(TWO) == ("quick", 2)
    answer = stage.do(Request.ROLLBACK, rule="a\nrule")
    assert (answer.phase, answer.reason) == (CanaryReport.ROLLED_BACK, "a rule")
    assert stage.show(ONE) == ("live", 1), "it saw one spike, then two, while the other one was published"
    history = [json.loads(line) for line in stage.switch(Request.STATUS).history]
    assert [entry["after"] for entry in history] == ["SHADOW", "CANARY", "PROMOTED", "ROLLED_BACK"]
    assert history[-1]["cause"] == "rule"
    bed.until(lambda: statuses and statuses[-1].phase == CanaryReport.ROLLED_BACK, what="the last status")
    assert stage.node.core.counters.lost == 0


def test_what_does_not_fit_is_refused_in_one_line_and_no_window_is_lost(bed, stage, tmp_path):
    save_model(counting_model("outside", 60), tmp_path / "outside.safetensors")
    (stage.models / "pickle.safetensors").write_bytes(b"\x80\x04garbage.")
    for command, fields, named in (
        (0, {}, "command 0 is not known"),
        (99, {}, "command 99 is not known"),
        (Request.PROMOTE, {}, "does not fit phase BASELINE"),
        (Request.SHADOW, {"model_path": ""}, "needs a candidate"),
        (Request.SHADOW, {"model_path": str(tmp_path / "outside.safetensors")}, "inside the folders"),
        (Request.SHADOW, {"model_path": str(stage.models / "missing.safetensors")}, "no such model file"),
        (Request.SHADOW, {"model_path": str(stage.models / "pickle.safetensors")}, "not a usable model file"),
        (Request.SHADOW, {"model_path": str(stage.models / "live.safetensors")}, "is the live model already"),
        (Request.CANARY, {"share": float("nan")}, "does not fit"),
    ):
        answer = stage.switch(command, **fields)
        assert (answer.accepted, answer.phase) == (False, CanaryReport.BASELINE)
        assert named in answer.message
        assert "\n" not in answer.message
        assert stage.show(TWO) == ("live", 1)
    stage.do(Request.SHADOW)
    for fields in ({"share": 1.5}, {"share": float("nan")}, {"duration_s": float("inf")}, {"duration_s": -1.0}):
        assert not stage.switch(Request.CANARY, **fields).accepted
    assert not stage.switch(Request.ROLLBACK, on_trial="gone-1").accepted
    assert stage.node.trigger_deactivate() == SUCCESS
    answer = stage.switch(Request.PROMOTE)
    assert (answer.accepted, "inactive" in answer.message) == (False, True)
    assert stage.switch(Request.STATUS).phase == CanaryReport.SHADOW


def test_unsigned_candidates_are_refused_where_signatures_are_required(bed, models, tmp_path):
    pytest.importorskip("cryptography")
    private = keys.generate(keys.PRIVATE)
    keys.write_key(tmp_path / "private", keys.PRIVATE, private)
    keys.write_key(tmp_path / "public", keys.PUBLIC, keys.public_of(private))
    for name, vth, signer in (("live", 100, "private"), ("quick", 50, "private"), ("mute", 1000, "")):
        key = str(tmp_path / signer) if signer else None
        save_model(counting_model(name, vth), tmp_path / f"{name}.safetensors", signer=key)
    stage = Stage(bed, tmp_path, trusted_keys=[str(tmp_path / "public")])
    answer = stage.switch(Request.SHADOW, model_path=str(tmp_path / "mute.safetensors"))
    assert not answer.accepted
    assert "sign" in answer.message
    stage.do(Request.SHADOW)


def test_loading_holds_up_no_window_and_a_second_switch_is_refused_meanwhile(bed, stage, monkeypatch):
    begun, release = threading.Event(), threading.Event()
    real = SnnInferenceCore.build_candidate

    def slow(self, name):
        begun.set()
        assert release.wait(20.0)
        return real(self, name)

    monkeypatch.setattr(SnnInferenceCore, "build_candidate", slow)
    client = bed.tester.create_client(SwitchModel, SERVICE)
    bed.until(client.service_is_ready, what="the service")
    first = client.call_async(Request(command=Request.SHADOW, model_path=str(stage.models / "quick.safetensors")))
    bed.until(begun.is_set, what="the loader")
    for _ in range(5):
        assert stage.show(TWO) == ("live", 1)
    answer = stage.switch(Request.SHADOW)
    assert (answer.accepted, "a switch (SHADOW) is under way" in answer.message) == (False, True)
    assert not first.done()
    release.set()
    bed.until(first.done, what="the answer")
    assert first.result().accepted
    assert stage.show(TWO) == ("live", 1)
    assert stage.node.core.counters.lost == 0


def test_cleaning_up_while_a_candidate_is_built_answers_and_leaves_nothing(bed, stage, monkeypatch):
    begun = threading.Event()
    built = []
    real = SnnInferenceCore.build_candidate

    def slow(self, name):
        begun.set()
        threading.Event().wait(0.3)
        built.append(real(self, name)[0])
        return built[0], name

    monkeypatch.setattr(SnnInferenceCore, "build_candidate", slow)
    client = bed.tester.create_client(SwitchModel, SERVICE)
    bed.until(client.service_is_ready, what="the service")
    client.call_async(Request(command=Request.SHADOW, model_path=str(stage.models / "quick.safetensors")))
    bed.until(begun.is_set, what="the loader")
    assert stage.node.trigger_deactivate() == SUCCESS
    assert stage.node.trigger_cleanup() == SUCCESS
    bed.until(lambda: built and built[0].network.engine is None, what="the end of the candidate")
    assert SERVICE not in [service.srv_name for service in stage.node.services]


@pytest.mark.parametrize("promoted", [False, True], ids=["shadow", "promoted"])
def test_live_model_and_both_states_survive_a_restart(bed, models, tmp_path, promoted):
    stage = Stage(bed, models, state_directory=str(tmp_path))
    stage.do(Request.SHADOW, model_path=str(models / "mute.safetensors"))
    if promoted:
        stage.do(Request.PROMOTE)
    stage.show(ONE)
    assert stage.node.trigger_deactivate() == SUCCESS
    bed.remove(stage.node)
    assert (tmp_path / "rollout.json").is_file()
    again = Stage(bed, models, state_directory=str(tmp_path))
    again.sequence = 1
    answer = again.switch(Request.STATUS)
    assert answer.phase == (CanaryReport.PROMOTED if promoted else CanaryReport.SHADOW)
    assert again.show(ONE) == (("mute", 0) if promoted else ("live", 1))
    if promoted:
        bed.until(lambda: again.shadow, what="the previous model's gesture")
        assert again.shadow[-1].spike_counts[0] == 1, "it remembers the spike from before the restart"
    again.do(Request.ROLLBACK)
    assert again.show(TWO) == ("live", 1)
    bed.until(lambda: not list((tmp_path / "arms").iterdir()), what="the end of the other model's states")
    assert again.node.core.counters.lost == 0


def test_a_damaged_record_is_told_and_the_configured_model_is_live(bed, models, tmp_path, capfd):
    (tmp_path / "rollout.json").write_text('{"format": "neuro_ros.arms"')
    stage = Stage(bed, models, state_directory=str(tmp_path))
    assert stage.show(TWO) == ("live", 1)
    assert "the roll-out of before is not taken up" in capfd.readouterr().err


def test_the_canary_rolls_a_bad_candidate_back_by_rule(bed, models):
    stage = Stage(bed, models)
    canary = bed.make(
        CanaryNode,
        parameters={"report_period_s": 0.05, "rollout.min_windows": 8, "rollout.block_windows": 4},
    )
    assert canary.trigger_configure() == canary.trigger_activate() == SUCCESS
    reports = bed.collect(CanaryReport, "canary/report", qos.LATCHED)
    diagnostics = bed.collect(DiagnosticArray, "/diagnostics")
    bed.until(lambda: stage.node.subscription_count("gesture/shadow") == 2, what="the canary's subscription")
    stage.do(Request.SHADOW, model_path=str(models / "mute.safetensors"))
    candidate = stage.switch(Request.STATUS).candidate_id
    bed.until(lambda: reports and reports[-1].candidate_id == candidate, what="a report on the candidate")
    stage.do(Request.PROMOTE)
    for _ in range(100):
        if stage.show(TWO)[0] == "live":
            break
    answer = stage.switch(Request.STATUS)
    assert answer.phase == CanaryReport.ROLLED_BACK
    assert f"proxy accuracy of {candidate} is lower by " in answer.reason
    assert json.loads(answer.history[-1])["cause"] == "rule"
    bed.until(lambda: reports[-1].phase == CanaryReport.ROLLED_BACK, what="the report")
    bed.until(
        lambda: any(
            status.name.endswith("canary: rules") and status.message == "1 switches asked for"
            for message in diagnostics
            for status in message.status
        ),
        what="the diagnostics",
    )


def test_the_canary_takes_a_good_candidate_all_the_way_by_rule(bed, models):
    stage = Stage(bed, models)
    canary = bed.make(
        CanaryNode,
        parameters={
            "report_period_s": 0.05,
            "rollout.min_windows": 4,
            "rollout.block_windows": 2,
            "rollout.canary_after": 8,
            "rollout.share": 0.5,
            "rollout.promote_after": 8,
        },
    )
    assert canary.trigger_configure() == canary.trigger_activate() == SUCCESS
    bed.until(lambda: stage.node.subscription_count("gesture/shadow") == 2, what="the canary's subscription")
    stage.do(Request.SHADOW)
    for _ in range(200):
        stage.show(TWO)
        if stage.node.core.model.name == "quick":
            break
    history = [json.loads(line) for line in stage.switch(Request.STATUS).history]
    assert [(entry["after"], entry["cause"]) for entry in history] == [
        ("SHADOW", "command"),
        ("CANARY", "rule"),
        ("PROMOTED", "rule"),
    ]


def test_telemetry_of_both_arms(bed, stage):
    telemetry = bed.collect(SnnTelemetry, "snn/telemetry")
    stage.do(Request.SHADOW)
    stage.show()
    bed.until(lambda: {message.arm for message in telemetry} == {"live", "shadow"}, what="both")
