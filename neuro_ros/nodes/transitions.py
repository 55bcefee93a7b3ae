# SPDX-License-Identifier: Apache-2.0
"""Makes rclpy's lifecycle node answer and speak where it stays silent: failed and impossible transitions.

What a transition does is not known here.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State, Transition
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from neuro_ros.errors import NeuroRosError

__all__ = ["GuardedLifecycleNode", "logged_transition"]

_Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]
_SHUTDOWN = {
    State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_INACTIVE_SHUTDOWN,
    State.PRIMARY_STATE_ACTIVE: Transition.TRANSITION_ACTIVE_SHUTDOWN,
}


def logged_transition(method: _Transition) -> _Transition:
    """Log what goes wrong in a transition, which rclpy swallows, and turn it into FAILURE or ERROR.

    A `NeuroRosError` (a missing file, a parameter that does not fit) is one clear line and FAILURE: the node stays in
    the state it was in. Anything else is a fault of ours: the traceback and ERROR, which releases everything.
    """

    @functools.wraps(method)
    def wrapper(self: LifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        name = method.__name__.removeprefix("on_")
        try:
            result = method(self, state)
        except NeuroRosError as error:
            self.get_logger().error(f"{name} failed: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception:  # noqa: BLE001 - the boundary to rclpy, which would drop the text
            self.get_logger().error(f"{name} failed with a fault of the node:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        self.get_logger().info(f"{name}: {result.to_label().removeprefix('transition_')}")
        return result

    return wrapper


class GuardedLifecycleNode(LifecycleNode):
    """A lifecycle node that answers an impossible transition instead of failing on it.

    rclpy 7.1 (Jazzy) lets the state machine's ``RCLError`` fly out of the executor and never answers the caller;
    later releases log and answer. Here the service says ``success=false`` and the ``trigger_*`` methods return ERROR,
    with a line in the log, in all of them.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        service = getattr(self, "_service_change_state", None)
        if service is not None:  # None with enable_communication_interface=False
            service.callback = functools.partial(self._change_state, service.callback)

    @property
    def state_id(self) -> int:
        """Number of the present state, as in ``lifecycle_msgs/State``."""
        return int(self._state_machine.current_state[0])

    @property
    def state_label(self) -> str:
        """Name of the present state."""
        return str(self._state_machine.current_state[1])

    def _refuse(self, number: int, label: str = "") -> bool:
        """Return True, and log why, when a transition is not possible now; the label counts where there is one."""
        offered = {item[1]: item[0] for item in self._state_machine.available_transitions}
        if (label in offered) if label else (number in offered.values()):
            return False
        names = ", ".join(f"{name} ({number})" for name, number in sorted(offered.items())) or "none"
        asked = repr(label) if label else str(number)
        self.get_logger().warning(f"transition {asked} is not possible when {self.state_label}; possible: {names}")
        return True

    def _change_state(self, original: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
        response.success = False
        if self._refuse(request.transition.id, request.transition.label):
            return response
        try:
            return original(request, response)
        except rclpy_implementation.RCLError as error:
            self.get_logger().error(f"the state machine refused a transition: {error}")
            return response

    def trigger_configure(self) -> TransitionCallbackReturn:
        """Configure; ERROR when that is not possible now."""
        return self._trigger(Transition.TRANSITION_CONFIGURE, super().trigger_configure)

    def trigger_activate(self) -> TransitionCallbackReturn:
        """Activate; ERROR when that is not possible now."""
        return self._trigger(Transition.TRANSITION_ACTIVATE, super().trigger_activate)

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        """Deactivate; ERROR when that is not possible now."""
        return self._trigger(Transition.TRANSITION_DEACTIVATE, super().trigger_deactivate)

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        """Clean up; ERROR when that is not possible now."""
        return self._trigger(Transition.TRANSITION_CLEANUP, super().trigger_cleanup)

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        """Shut down; ERROR when that is not possible now."""
        # A finalized node has no shutdown of its own; any of them is refused.
        number = _SHUTDOWN.get(self.state_id, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        return self._trigger(number, super().trigger_shutdown)

    def destroy_node(self) -> None:
        """Destroy the node, and its state machine with it.

        rclpy leaves that to the search for garbage. Until then the machine keeps the node's middleware alive, and the
        search takes it down in whatever thread it happens to run, beside the other nodes of the process; Fast DDS is
        known to dead-lock on that (its issue 6193).
        """
        super().destroy_node()
        self._state_machine = None

    def _trigger(self, number: int, original: Callable[[], TransitionCallbackReturn]) -> TransitionCallbackReturn:
        return TransitionCallbackReturn.ERROR if self._refuse(number) else original()
