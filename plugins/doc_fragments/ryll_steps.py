# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """The steps that can be played over ryll's control socket."""

    DOCUMENTATION = r"""
options:
  steps:
    description:
      - The steps, played in order. Each is a mapping with exactly one verb, whose value holds the verb's options, and
        beside it any of C(name), C(within), C(register), C(blame), C(refused), C(private).
      - The whole list is checked before anything starts.
      - Only C(pause) and C(call) may come before the first C(hello).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The step's name in transcript and messages; the verb when not given.
        type: str
      within:
        description:
          - Limit of the step in seconds, 0.001 to 86400. The common limit of steps when not given; C(quiet) and
            C(pause) add their own C(seconds) to that.
        type: float
      register:
        description:
          - A name under which later steps refer to this one (C(since), C(same_as), C(differs_from), C(size_as)), and
            under which the result has what it saw. Each name once.
        type: str
      blame:
        description:
          - The component to name when what this step expects does not happen, V(ryll) when not given. A ryll that does
            not answer, breaks the protocol or goes away is blamed itself in any case.
        type: str
        choices: [guest, qemu, firmware, kerbside, proxy, database, tls, ryll, host, environment, lane, artifacts]
      refused:
        description:
          - An error code of ryll. The step then passes when ryll refuses it with this code, and only then; it sees
            C(refused), and leaves nothing for later steps.
          - "ryll 0.3.0 knows no_hello_yet, protocol_version_mismatch, busy, unknown_method, bad_params, bad_state,
            agent_not_connected, no_such_surface, unsupported_format, queue_full, not_implemented and internal_error."
        type: str
      private:
        description:
          - Hides the texts of C(type), C(paste), C(clipboard_set), C(clipboard_get) and C(call) in transcript, messages
            and logs. Only their length is shown.
          - The same texts, and each line of them, are hidden wherever else they appear in the session, unless shorter
            than 3 characters.
          - In a session with a private step no messages of the peer are quoted.
        type: bool
        default: false
      hello:
        description: Opens the conversation. Normally the first step. It connects, waiting for the socket. Sees
          C(server_name), C(protocol_version) and the lists C(supported_methods) and C(supported_events).
        type: dict
        suboptions:
          protocol_version:
            description: The version to ask for, major.minor.
            type: str
            default: "1.0"
      status:
        description: Sees C(spice_connected), C(agent_connected) and the list C(surfaces), each with C(channel_id),
          C(surface_id), C(width), C(height).
        type: dict
      await:
        description: Asks for the status until all the given conditions, at least one, hold at once. Sees the last
          status, how often it C(asked), and the C(marks) if those were asked for.
        type: dict
        suboptions:
          agent:
            description: Whether the guest's agent is connected.
            type: bool
          surfaces:
            description: The least number of surfaces that have a size.
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
            description: The least number of drawn marks, by the verb C(stats). C(spice_connected) is always true and
              proves nothing; this does.
            type: int
          interval:
            description: Seconds between two requests, 0.01 to 60.
            type: float
            default: 0.05
      screenshot:
        description:
          - Takes a picture, decodes it and checks that it is whole and has the size of its surface.
          - A surface that changes its size meanwhile is taken again.
          - Sees C(format), C(width), C(height), C(bytes), C(one_colour) (such as V(#000000), or null) and, when given,
            C(file), C(same_as), C(differs_from), C(equals).
          - Pictures are equal when every pixel is. Alpha does not count.
        type: dict
        suboptions:
          file:
            description: Absolute path to write the picture to, mode 0600, in place of what is there. A PNG, or the
              bytes of RGBA. It is also kept when the picture is not as wanted.
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
            description: Name of a registered C(screenshot) step whose picture it must equal.
            type: str
          differs_from:
            description: Name of a registered C(screenshot) step whose picture it must not equal.
            type: str
          equals:
            description: Path of a picture of one's own, usually a PNG, that it must equal.
            type: path
          masks:
            description: Parts of the picture that are not compared, each like C(region).
            type: list
            elements: dict
            default: []
          lossy:
            description: A lossy compression was asked for, so that equal pictures may differ by what that explains
              (docs/smoke.md).
            type: bool
            default: false
          difference:
            description: Absolute path for a picture that is white where it differs from C(equals), mode 0600.
            type: path
          until_still:
            description: Seconds for which no picture may differ from the one before, in the region and outside the
              masks. The last picture counts.
            type: float
            default: 0
          settle:
            description:
              - Seconds in which to take pictures until one is as wanted. A new surface is black until the guest has
                drawn on it.
              - Within the step's own limit. With V(0) the first picture counts.
            type: float
            default: 0
          region:
            description: The part of the picture that C(not_one_colour), C(same_as), C(differs_from), C(equals) and
              C(until_still) consider. It has C(x) and C(y) of the top left corner, C(width) and C(height), in pixels.
            type: dict
      send_key:
        description: Sends keys. Exactly one of C(key), C(keys) and C(scancode). Sees C(scancodes), a list for each
          chord, and C(state).
        type: dict
        suboptions:
          key:
            description:
              - A key by its name, with the modifiers to hold before it, joined by C(-). For example V(enter), V(a),
                V(ctrl-alt-f2).
              - Letters, digits and punctuation of a US keyboard are their own names, except V(minus).
              - "Others: esc, backspace, tab, enter, space, caps_lock, f1 to f12, up, down, left, right, home, end,
                page_up, page_down, insert, delete, menu, print_screen, num_lock, scroll_lock, kp_0 to kp_9, kp_dot,
                kp_enter, kp_plus, kp_minus, kp_multiply, kp_divide, ctrl, shift, alt, meta, right_ctrl, right_shift,
                alt_gr, right_meta, less, break, mute, volume_up, volume_down, power, sleep, wake."
            type: str
          keys:
            description: Several of the same, one after the other.
            type: list
            elements: str
          scancode:
            description: A set 1 make code, V(0x01) to V(0x7f), or with its prefix in the high byte, V(0xe001) to
              V(0xe07f).
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
        description: Types a text by single keys of a US keyboard; line ends are enter, tabs are tab. Sees C(text) and
          C(characters), their number.
        type: dict
        suboptions:
          text:
            description: The text, at most 100000 characters. With 10 ms for each, C(within) has to be more than a
              second per 100.
            type: str
            required: true
          delay_ms:
            description: Milliseconds between two characters.
            type: int
            default: 10
      paste:
        description: Makes ryll type a text. Works only when ryll was started with C(--enable-paste-as-keystrokes). Sees
          C(text) and C(characters).
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
              - Wait for C(paste_completed), to which the step subscribes by itself, as to C(paste_failed), and check
                the number of characters.
              - Without it nothing shows whether ryll typed anything.
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
          - Sees the clipboard text. This is what C(clipboard_set) stored until the guest set another, so a round trip
            proves something only after the event C(clipboard_changed).
          - Sees C(text) and C(characters), both null when there is none. An answer longer than O(max_line_bytes) fails.
        type: dict
        suboptions:
          equals:
            description: What the text must be.
            type: str
      resize:
        description: Asks the guest for another size. Sees C(width) and C(height) that ryll sent on, rounded down to a
          multiple of 8. C(await) with C(size_as) sees whether the guest follows.
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
            description: The least number of drawn marks.
            type: int
      subscribe:
        description: Asks for events, as C(expect_event) and C(quiet) need it before them. Sees C(subscribed).
        type: dict
        suboptions:
          events:
            description:
              - Their names. Subscribe to V(dropped) as well, to learn of events that ryll threw away.
              - ryll 0.3.0 has V(agent_connected) with the data C(connected), V(clipboard_changed) (the guest set a
                text) with C(bytes), V(surface_drawn) with C(display_channel_id), C(surface_id), C(produced_at_secs) and
                C(wallclock_us), V(latency) with C(sample_ms) and C(wallclock_us) every 15 s, V(paste_completed) with
                C(request_id) and C(chars_sent), V(paste_failed) with C(request_id) and C(reason), V(dropped) with
                C(count), V(input_rtt) with C(rtt_ms), which was never seen to arrive.
              - A state is not reported again. Subscribe first, then ask for the status.
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
          - Waits for an event to which an earlier step subscribed. Events that arrived before are kept and count, in
            order, each once.
          - Sees C(event), C(count) and the list C(data).
        type: dict
        suboptions:
          event:
            description: Its name.
            type: str
            required: true
          fields:
            description: Data that it must carry, each as given; 1 is 1.0, but not true and not a text. Other data does
              not count.
            type: dict
          since:
            description: Only events that arrived after this registered step began count.
            type: str
          count:
            description: How many to wait for.
            type: int
            default: 1
      quiet:
        description: Makes sure that no such event arrives for a time, and that none was dropped. Sees C(event) and
          C(seconds).
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
            description: Events that arrived after this registered step began count as well.
            type: str
          seconds:
            description: How long.
            type: float
            required: true
      pause:
        description: Lets time pass. Events are kept, and a ryll that ends is noticed at once. Sees C(seconds).
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
            description: Data that the answer must contain; other data does not count.
            type: dict
          acts:
            description: Whether this acts on the guest, so that the task is changed.
            type: bool
            default: false
"""
