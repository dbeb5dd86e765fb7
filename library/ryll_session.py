#!/usr/bin/python
# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations

DOCUMENTATION = r"""
module: ryll_session
short_description: Play a list of steps over ryll's control socket and return what was seen
description:
  - Connects to the control socket of a headless ryll, plays O(steps) in order over that one connection and returns a transcript.
  - The first step that does not hold fails the task with one sentence that names the step, what was expected and what came last.
    The transcript up to there comes back with the failure.
  - Whatever the peer does (says nothing, says nonsense, sends without end, dies, is stopped), the task ends within its limits.
  - Any minor version of protocol major version 1 will do. A step that needs a verb or event which this ryll does not list in its
    answer to C(hello) fails with that said, before it is tried.
options:
  socket:
    description: Path of ryll's control socket (its C(--control-socket)), absolute, at most 107 bytes.
    type: path
    required: true
  steps:
    description:
      - The steps, played in order. Each is a mapping with exactly one verb, whose value holds the verb's options, and beside it any
        of C(name), C(within), C(register), C(blame), C(refused), C(private).
      - The whole list is checked before anything starts.
      - Only C(hello), C(pause) and C(call) may stand before the first C(hello).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The step's name in transcript and messages; the verb when not given.
        type: str
      within:
        description:
          - Limit of the step in seconds, 0.001 to 86400. O(step_limit) when not given; C(quiet) and C(pause) add their own C(seconds) to that.
        type: float
      register:
        description:
          - A name under which later steps refer to this one (C(since), C(same_as), C(differs_from), C(size_as)), and under which
            RV(registered) returns what it saw. Each name once.
        type: str
      blame:
        description:
          - The component to name when what this step expects does not come true, V(ryll) when not given. A ryll that does not
            answer, breaks the protocol or goes away is blamed itself all the same.
        type: str
        choices: [guest, qemu, firmware, kerbside, proxy, database, tls, ryll, host, environment, lane, artifacts]
      refused:
        description:
          - An error code of ryll. The step is then good when ryll refuses it with this code, and only then; it sees C(refused), and leaves
            nothing for later steps.
          - "ryll 0.3.0 knows no_hello_yet, protocol_version_mismatch, busy, unknown_method, bad_params, bad_state, agent_not_connected,
            no_such_surface, unsupported_format, queue_full, not_implemented and internal_error."
        type: str
      private:
        description:
          - Hides the texts of C(type), C(paste), C(clipboard_set), C(clipboard_get) and C(call) in transcript, messages and logs. Only
            their length is told.
          - The same texts, and each line of them, are hidden wherever else they come up in the session, unless shorter than 3 characters.
          - In a session with a private step no messages of the peer are quoted.
        type: bool
        default: false
      hello:
        description: Opens the conversation. Normally the first step. It connects, waiting up to O(connect_within). Sees C(server_name),
          C(protocol_version) and the lists C(supported_methods) and C(supported_events).
        type: dict
        suboptions:
          protocol_version:
            description: The version to ask for, major.minor.
            type: str
            default: "1.0"
      status:
        description: Sees C(spice_connected), C(agent_connected) and the list C(surfaces), each with C(channel_id), C(surface_id), C(width), C(height).
        type: dict
      await:
        description: Asks for the status until all the given conditions, at least one, hold at once. Sees the last status, how often it C(asked),
          and the C(marks) if those were wanted.
        type: dict
        suboptions:
          agent:
            description: Whether the guest's agent is connected.
            type: bool
          surfaces:
            description: At least so many surfaces that have a size.
            type: int
          size:
            description: Size of the surface C(surface_id), such as V(1280x800).
            type: str
          size_as:
            description: Like C(size), with the size that a registered C(resize) or C(screenshot) step saw.
            type: str
          surface_id:
            description: The surface that C(size) and C(size_as) mean.
            type: int
            default: 0
          marks:
            description: At least so many drawing marks, by the C(stats) verb. C(spice_connected) is always true, so it proves nothing; this does.
            type: int
          interval:
            description: Seconds between two questions, 0.01 to 60.
            type: float
            default: 0.05
      screenshot:
        description:
          - Takes a picture, reads it to its end and checks that it is whole and has the size of its surface.
          - A surface that changes its size meanwhile is taken again.
          - Sees C(format), C(width), C(height), C(bytes), C(one_colour) (such as V(#000000), or null) and, when given, C(file), C(same_as),
            C(differs_from).
        type: dict
        suboptions:
          file:
            description: Absolute path to write the picture to, mode 0600, in place of what is there. A PNG, or the bare bytes of RGBA. It is
              kept when the picture is not as wanted.
            type: path
          format:
            description: What to ask ryll for.
            type: str
            choices: [png, rgba]
            default: png
          surface_id:
            description: The surface.
            type: int
            default: 0
          not_one_colour:
            description: The picture, or C(region) of it, must have at least two colours.
            type: bool
            default: false
          size:
            description: The size it must have, such as V(1280x800).
            type: str
          same_as:
            description: Name of a registered C(screenshot) step whose pixels it must equal. Alpha is not looked at.
            type: str
          differs_from:
            description: Name of a registered C(screenshot) step whose pixels it must not equal.
            type: str
          settle:
            description:
              - Seconds in which to take pictures until one is as wanted. A new surface is black until the guest has drawn on it.
              - Within the step's own limit. With V(0) the first picture decides.
            type: float
            default: 0
          region:
            description: The part of the picture that C(not_one_colour), C(same_as) and C(differs_from) look at. It must lie inside.
            type: dict
            suboptions:
              x:
                description: Left edge in pixels from the left.
                type: int
                required: true
              y:
                description: Upper edge in pixels from the top.
                type: int
                required: true
              width:
                description: In pixels.
                type: int
                required: true
              height:
                description: In pixels.
                type: int
                required: true
      send_key:
        description: Sends keys. Exactly one of C(key), C(keys) and C(scancode). Sees C(scancodes), a list for each chord, and C(state).
        type: dict
        suboptions:
          key:
            description:
              - A key by its name, with the modifiers to hold before it, joined by C(-). For example V(enter), V(a), V(ctrl-alt-f2).
              - Letters, digits and marks of a US keyboard are their own names, except V(minus).
              - "Others: esc, backspace, tab, enter, space, caps_lock, f1 to f12, up, down, left, right, home, end, page_up, page_down,
                insert, delete, menu, print_screen, num_lock, scroll_lock, kp_0 to kp_9, kp_dot, kp_enter, kp_plus, kp_minus,
                kp_multiply, kp_divide, ctrl, shift, alt, meta, right_ctrl, right_shift, alt_gr, right_meta, less, break, mute,
                volume_up, volume_down, power, sleep, wake."
            type: str
          keys:
            description: Several of the same, one after the other.
            type: list
            elements: str
          scancode:
            description: A set 1 make code, V(0x01) to V(0x7f), or with its prefix in the high byte, V(0xe001) to V(0xe07f).
            type: int
          state:
            description: V(press) is down and up. V(down) and V(up) do one of them for all keys of the chord.
            type: str
            choices: [press, down, up]
            default: press
          delay_ms:
            description: Milliseconds between two of C(keys).
            type: int
            default: 10
      type:
        description: Types a text by single keys of a US keyboard; line ends are enter, tabs are tab. Sees C(text) and C(characters), their number.
        type: dict
        suboptions:
          text:
            description: The text, at most 100000 characters. 10 ms for each want a C(within) of more than a second per 100.
            type: str
            required: true
          delay_ms:
            description: Milliseconds between two characters.
            type: int
            default: 10
      paste:
        description: Lets ryll type a text. Works only when ryll was started with C(--enable-paste-as-keystrokes). Sees C(text) and C(characters).
        type: dict
        suboptions:
          text:
            description: The text, of characters of a US keyboard.
            type: str
            required: true
          char_delay_ms:
            description: Milliseconds between two characters.
            type: int
            default: 10
          wait:
            description:
              - Wait for C(paste_completed), to which the step subscribes by itself, as to C(paste_failed), and check the number of characters.
              - Without it nothing tells whether ryll typed anything.
            type: bool
            default: true
      clipboard_set:
        description: Gives ryll a clipboard text to offer to the guest. Sees C(text) and C(characters).
        type: dict
        suboptions:
          text:
            description: The text, at most 104857600 bytes.
            type: str
            required: true
      clipboard_get:
        description:
          - Sees the clipboard text. This is what C(clipboard_set) stored until the guest set another, so a round trip proves
            something only after the event C(clipboard_changed).
          - Sees C(text) and C(characters), both null when there is none. An answer longer than O(max_line_bytes) fails.
        type: dict
        suboptions:
          equals:
            description: What the text must be.
            type: str
      resize:
        description: Asks the guest for another size. Sees C(width) and C(height) that ryll sent on, rounded down to a multiple of 8. Whether the guest
          follows is for C(await) with C(size_as) to see.
        type: dict
        suboptions:
          width:
            description: 1 to 16384 pixels.
            type: int
            required: true
          height:
            description: 1 to 16384 pixels.
            type: int
            required: true
      stats:
        description: Sees ryll's counters, in C(display).
        type: dict
        suboptions:
          marks:
            description: At least so many drawing marks.
            type: int
      subscribe:
        description: Asks for events, as C(expect_event) and C(quiet) need it before them. Sees C(subscribed).
        type: dict
        suboptions:
          events:
            description:
              - Their names. Subscribe to V(dropped) as well, to learn of events that ryll threw away.
              - ryll 0.3.0 has V(agent_connected) with the data C(connected), V(clipboard_changed) (the guest set a text) with C(bytes),
                V(surface_drawn) with C(display_channel_id), C(surface_id), C(produced_at_secs) and C(wallclock_us), V(latency) with C(sample_ms)
                and C(wallclock_us) every 15 s, V(paste_completed) with C(request_id) and C(chars_sent), V(paste_failed) with C(request_id)
                and C(reason), V(dropped) with C(count), V(input_rtt) with C(rtt_ms), which was never seen to come.
              - A state is not told again. Subscribe first, then ask for the status.
            type: list
            elements: str
            required: true
      unsubscribe:
        description: Asks for no more of these events. Sees C(unsubscribed).
        type: dict
        suboptions:
          events:
            description: Their names; all of them subscribed before.
            type: list
            elements: str
            required: true
      expect_event:
        description:
          - Waits for an event to which an earlier step subscribed. Events that came before are kept and count, in order, each once.
          - Sees C(event), C(count) and the list C(data).
        type: dict
        suboptions:
          event:
            description: Its name.
            type: str
            required: true
          fields:
            description: Data that it must carry, each as given; 1 is 1.0, but not true and not a text. Other data is not looked at.
            type: dict
          since:
            description: Only events that came after this registered step began count.
            type: str
          count:
            description: How many are wanted.
            type: int
            default: 1
      quiet:
        description: Makes sure that no such event comes for a time, and that none was dropped. Sees C(event) and C(seconds).
        type: dict
        suboptions:
          event:
            description: Its name.
            type: str
            required: true
          fields:
            description: Data that it must carry to count.
            type: dict
          since:
            description: Events that came after this registered step began count as well.
            type: str
          seconds:
            description: How long.
            type: float
            required: true
      pause:
        description: Lets time pass. Events are kept, and a ryll that goes away is noticed at once. Sees C(seconds).
        type: dict
        suboptions:
          seconds:
            description: How long.
            type: float
            required: true
      reconnect:
        description: Ends the connection, makes a new one and says hello. Sees C(protocol_version) and C(subscribed).
        type: dict
        suboptions:
          resubscribe:
            description: Subscribe again to what was subscribed before.
            type: bool
            default: true
      call:
        description: Sends any request, for verbs that a newer ryll has. Sees the answer as C(result).
        type: dict
        suboptions:
          method:
            description: The verb; the server must list it, unless C(refused) is given.
            type: str
            required: true
          params:
            description: Its parameters.
            type: dict
          result:
            description: Data that the answer must hold; other data is not looked at.
            type: dict
          acts:
            description: Whether this acts on the guest, so that the task is changed.
            type: bool
            default: false
  limit:
    description: Limit of the whole session in seconds. A C(pause) or C(quiet) for which too little of it is left fails at once.
    type: float
    default: 300
  step_limit:
    description: Limit of a step that has no C(within), in seconds.
    type: float
    default: 10
  connect_within:
    description:
      - Seconds to wait for the socket to appear and to be listened on. They come on top of the first step's limit.
      - ryll makes its socket about a millisecond after its start, long before its SPICE session stands.
    type: float
    default: 0
  max_line_bytes:
    description: Longest line that is taken from the peer, 1024 to 67108864 bytes. A screenshot is one line.
    type: int
    default: 67108864
  client_name:
    description: The name under which to say hello.
    type: str
    default: kerbside-lane
  pid:
    description: The ryll process. With it, its end or its being stopped fails the task at once, with its state.
    type: int
  lane_dir:
    description: The lane whose other programs are watched as well. One that ends or is stopped fails the task within a second.
    type: path
  log_file:
    description: ryll's log. Its last lines are quoted when ryll cannot be reached, does not answer or goes away.
    type: path
  transcript_file:
    description: Absolute path to write what this module returns to, as JSON, mode 0600, when the session failed as well as when not.
    type: path
attributes:
  check_mode:
    support: full
    description: Checks the steps and says what would be done; touches nothing, and does not look for the socket.
  diff_mode:
    support: none
    description: There is no text to compare.
  idempotent:
    support: none
    description: A session is played again each time.
notes:
  - In a project of one's own, C(library) and C(module_utils) in ansible.cfg name the folders of those names that this module came in.
  - ryll serves one client at a time. Another one is refused with C(busy), which the first C(hello) bears for a second, because ryll does
    not notice at once that the client before has left.
author:
  - the kerbside lane's authors
"""

EXAMPLES = r"""
- name: See that the guest is there and takes a key
  ryll_session:
    socket: /tmp/lane/ryll.sock
    connect_within: 5
    transcript_file: /tmp/lane/transcript.json
    steps:
      - hello: {}
      - name: wait for a picture and the agent
        await: {surfaces: 1, marks: 1, agent: true}
        within: 30
        blame: guest
      - screenshot: {file: /tmp/lane/before.png, not_one_colour: true}
        register: before
      - subscribe: {events: [surface_drawn, dropped]}
      - send_key: {key: a}
        register: pressed
      - expect_event: {event: surface_drawn, since: pressed}
        blame: guest
      - screenshot: {file: /tmp/lane/after.png, differs_from: before}
        blame: guest

- name: Ask the guest for another size
  ryll_session:
    socket: /tmp/lane/ryll.sock
    steps:
      - hello: {}
      - resize: {width: 1024, height: 768}
        register: wanted
      - await: {size_as: wanted}
        within: 20
        blame: guest

- name: Type something, and see the guest draw it
  ryll_session:
    socket: /tmp/lane/ryll.sock
    steps:
      - hello: {}
      - await: {surfaces: 1, marks: 1}
        within: 30
      - subscribe: {events: [surface_drawn, dropped]}
      - name: nothing moves by itself
        quiet: {event: surface_drawn, seconds: 0.5}
        blame: guest
      - screenshot: {region: {x: 0, y: 0, width: 64, height: 32}}
        register: still
      - type: {text: "ls -l"}
        register: typed
      - expect_event: {event: surface_drawn, fields: {surface_id: 0}, since: typed, count: 2}
        blame: guest
      - screenshot: {differs_from: still, settle: 3}
        register: last
        blame: guest
  register: session

- name: Use what the session saw
  ansible.builtin.assert:
    that:
      - session.registered.last.width == session.registered.still.width
      - session.events_seen.surface_drawn >= 2

- name: See what ryll refuses, and use a verb that this module has no step for
  ryll_session:
    socket: /tmp/lane/ryll.sock
    steps:
      - call: {method: status}
        refused: no_hello_yet
      - hello: {}
      - screenshot: {surface_id: 7}
        refused: no_such_surface
      - call: {method: status, params: {}, result: {spice_connected: true}}
      - call: {method: no_such_verb}
        refused: unknown_method
      - paste: {text: "pasted by ryll\n"}
      - unsubscribe: {events: [paste_completed, paste_failed]}
      - send_key: {keys: [shift-a, left, kp_enter]}
      - reconnect: {resubscribe: false}
      - pause: {seconds: 0.1}
      - status: {}

- name: Log in without a word of it in any log
  ryll_session:
    socket: /tmp/lane/ryll.sock
    steps:
      - hello: {}
      - type: {text: "{{ guest_password }}\n"}
        private: true
"""

RETURN = r"""
lane_note:
  description: The names of the steps that went well, for the terminal.
  returned: always, except in check mode
  type: str
transcript:
  description: One entry for each step, in order; also on failure.
  returned: always
  type: list
  elements: dict
  contains:
    index:
      description: The step's number, from 1.
      type: int
    name:
      description: Its name.
      type: str
    step:
      description: Its verb.
      type: str
    result:
      description: V(ok), V(failed), or V(skipped) for those after the failed one.
      type: str
    started:
      description: Unix time, null when it did not start.
      type: float
    seconds:
      description: How long it took.
      type: float
    seen:
      description: What it saw; for a failed step C(expected), C(got) and C(kind).
      type: dict
events:
  description: The first 1000 events, in the order of their arrival.
  returned: always, except in check mode
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
    data:
      description: Its data.
      type: dict
    seconds:
      description: Seconds since the session began.
      type: float
    during:
      description: Number of the step that ran when it was read.
      type: int
events_seen:
  description: How many events of each name came.
  returned: always, except in check mode
  type: dict
registered:
  description: What the registered steps saw, by name.
  returned: always, except in check mode
  type: dict
server:
  description: Name and protocol_version of the server, empty before hello.
  returned: always, except in check mode
  type: dict
notices:
  description: What is to be known besides, such as events that were lost; also given as warnings.
  returned: always, except in check mode
  type: list
  elements: str
seconds:
  description: How long the session took.
  returned: always, except in check mode
  type: float
would:
  description: The steps in words.
  returned: in check mode
  type: list
  elements: str
failed_step:
  description:
    - The failed step's index, name and verb (C(step)), and the kind of the failure; one of unreachable, closed, process, timeout,
      malformed, unsupported, refused, unmet, environment.
  returned: when a step failed
  type: dict
lane_failure:
  description: The component that is blamed, the failed step's name as C(check), the C(cause) and the C(evidence).
  returned: failure
  type: dict
"""

from contextlib import nullcontext
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lane.core.ansible_result import finish
from ansible.module_utils.lane.programs import loss
from ansible.module_utils.lane.protocols.ryll.errors import SessionFailed
from ansible.module_utils.lane.protocols.ryll.private import hide
from ansible.module_utils.lane.protocols.ryll.session import Settings, rehearse, run
from ansible.module_utils.lane.protocols.ryll.steps import plan


def main() -> None:
    given: list[Any] = []

    def steps(value: Any) -> Any:
        """Keep the steps as they are for the session, and let Ansible's own logs have them without the private texts."""
        given.append(value)
        return hide(value)

    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "steps": {"type": steps, "required": True},
            "limit": {"type": "float", "default": 300.0},
            "step_limit": {"type": "float", "default": 10.0},
            "connect_within": {"type": "float", "default": 0.0},
            "max_line_bytes": {"type": "int", "default": 67108864},
            "client_name": {"type": "str", "default": "kerbside-lane"},
            "pid": {"type": "int"},
            "lane_dir": {"type": "path"},
            "log_file": {"type": "path"},
            "transcript_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    values = dict(module.params)
    del values["steps"]
    lane_dir = values.pop("lane_dir")

    def work() -> dict[str, Any]:
        planned = plan(given[0], values.pop("step_limit"))
        settings = Settings(**values)
        if module.check_mode:
            return rehearse(settings, planned)
        try:
            with loss.watched(lane_dir, {"ryll"}) if lane_dir else nullcontext():  # ryll itself is watched by its pid
                return warned(run(settings, planned))
        except SessionFailed as error:
            warned(error.result)
            raise

    def warned(result: dict[str, Any]) -> dict[str, Any]:
        for notice in result["notices"]:
            module.warn(notice)
        result["lane_note"] = ", ".join(step["name"] for step in result["transcript"] if step["result"] == "ok")
        return result

    finish(module, work)


if __name__ == "__main__":
    main()
