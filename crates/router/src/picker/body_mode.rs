//! What a message of a request asks for, by how Envoy sends bodies and by how far the request is.
//!
//! | mode | head, body follows | body | last of the body |
//! |---|---|---|---|
//! | `NONE`, `STREAMED` | pick | pass | pass |
//! | `BUFFERED`, `BUFFERED_PARTIAL` | pass, or pick if no body is wanted | pick | pick |
//! | `FULL_DUPLEX_STREAMED` | hold, or pick if no body is wanted | hold, then echo | release |
//!
//! A head without a body is picked for in every mode.

/// How Envoy sends a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BodyMode {
    /// Not at all.
    None,
    /// Piece by piece, each held back until it is answered. Also what is assumed of an Envoy that does not
    /// tell: the pick comes with the head then, which is right in every mode.
    #[default]
    Streamed,
    /// Whole.
    Buffered,
    /// Whole, or as much of it as fits Envoy's buffer.
    BufferedPartial,
    /// Piece by piece, all to be given back.
    FullDuplex,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RequestPhase {
    /// Nothing of it came.
    #[default]
    Awaited,
    /// Its head came; its body, or more of it, is awaited for the pick.
    Unpicked,
    /// It was picked for, and more of its body may come.
    Picked,
    /// All of it came and was given back.
    Through,
}

/// A message of Envoy's about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestPart {
    /// The head.
    Head {
        /// Whether no body follows.
        is_last: bool,
    },
    /// A piece of the body.
    Body {
        /// Whether it is the last one.
        is_last: bool,
    },
    /// Trailers, which end the request.
    Trailers,
}

/// What is done about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// The worker is picked now, and told in the answer.
    Pick,
    /// It is answered with nothing in it.
    Pass,
    /// It is kept, and answered later.
    Hold,
    /// The worker is picked now; told in the answer to the head, behind which all that was held goes back.
    Release,
    /// The piece goes back.
    Echo,
    /// It is not answered: everything was.
    Ignore,
}

impl BodyMode {
    /// All of them with their names in metrics, in the order of their numbers.
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::None, "none"),
        (Self::Streamed, "streamed"),
        (Self::Buffered, "buffered"),
        (Self::BufferedPartial, "buffered_partial"),
        (Self::FullDuplex, "full_duplex_streamed"),
    ];

    /// The mode with this number in the protocol.
    pub(crate) fn of(number: i32) -> Self {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        Self::ALL.get(place).map(|(mode, _)| *mode).unwrap_or_default()
    }

    /// What a message asks for, and how far the request is then. `wants_body` says whether the policy wants to
    /// know anything of the body.
    pub(crate) fn react(
        self,
        phase: RequestPhase,
        part: RequestPart,
        wants_body: bool,
    ) -> (Reaction, RequestPhase) {
        use RequestPart::{Body, Head, Trailers};
        use RequestPhase::{Awaited, Picked, Through, Unpicked};
        let echoes = self == Self::FullDuplex;
        let shows_whole = matches!(self, Self::Buffered | Self::BufferedPartial);
        match (phase, part) {
            (Awaited, Head { is_last: true }) => (Reaction::Pick, Through),
            (Awaited, Head { .. }) if wants_body && echoes => (Reaction::Hold, Unpicked),
            (Awaited, Head { .. }) if wants_body && shows_whole => (Reaction::Pass, Unpicked),
            (Awaited, Head { .. }) => (Reaction::Pick, Picked),
            (Unpicked, Body { is_last: false }) if echoes => (Reaction::Hold, Unpicked),
            (Unpicked, Body { .. } | Trailers) if echoes => (Reaction::Release, Through),
            (Unpicked, Body { .. }) => (Reaction::Pick, Picked),
            // Envoy 1.35 and later may repeat the last piece of a large body.
            (Through, Body { .. }) if echoes => (Reaction::Ignore, Through),
            (_, Body { is_last: true }) if echoes => (Reaction::Echo, Through),
            (_, Body { .. }) if echoes => (Reaction::Echo, phase),
            (_, Head { .. } | Body { .. } | Trailers) => (Reaction::Pass, phase),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: RequestPart = RequestPart::Head { is_last: false };
    const HEAD_ALONE: RequestPart = RequestPart::Head { is_last: true };
    const PIECE: RequestPart = RequestPart::Body { is_last: false };
    const LAST: RequestPart = RequestPart::Body { is_last: true };

    /// Modes, whether the policy wants bodies, what comes, and what is done about each part of it.
    type ModeCase<'a> = (&'a [BodyMode], bool, &'a [RequestPart], &'a [Reaction]);

    fn course(mode: BodyMode, wants_body: bool, parts: &[RequestPart]) -> Vec<Reaction> {
        let mut phase = RequestPhase::default();
        let mut reaction = |part: &RequestPart| {
            let (reaction, next) = mode.react(phase, *part, wants_body);
            phase = next;
            reaction
        };
        parts.iter().map(&mut reaction).collect()
    }

    #[test]
    fn modes_stand_at_their_numbers_in_the_protocol() {
        for (number, (mode, _)) in BodyMode::ALL.into_iter().enumerate() {
            assert_eq!(mode as usize, number);
            assert_eq!(BodyMode::of(i32::try_from(number).unwrap()), mode);
        }
        assert_eq!((BodyMode::of(-1), BodyMode::of(5)), (BodyMode::Streamed, BodyMode::Streamed));
    }

    #[test]
    fn head_without_a_body_is_picked_for_at_once_in_every_mode() {
        for (mode, _) in BodyMode::ALL {
            for wants_body in [false, true] {
                assert_eq!(course(mode, wants_body, &[HEAD_ALONE]), [Reaction::Pick]);
            }
        }
    }

    #[test]
    fn table_of_modes_holds() {
        use BodyMode::{Buffered, BufferedPartial, FullDuplex, None, Streamed};
        use Reaction::{Echo, Hold, Ignore, Pass, Pick, Release};
        let trailers = RequestPart::Trailers;
        let cases: &[ModeCase<'_>] = &[
            (&[None, Streamed], true, &[HEAD, PIECE, LAST, trailers], &[Pick, Pass, Pass, Pass]),
            (&[None, Streamed], false, &[HEAD, PIECE, LAST], &[Pick, Pass, Pass]),
            (&[Buffered, BufferedPartial], true, &[HEAD, LAST], &[Pass, Pick]),
            (&[Buffered, BufferedPartial], true, &[HEAD, PIECE, LAST], &[Pass, Pick, Pass]),
            (&[Buffered, BufferedPartial], true, &[HEAD, PIECE, trailers], &[Pass, Pick, Pass]),
            (&[Buffered, BufferedPartial], false, &[HEAD, LAST], &[Pick, Pass]),
            (&[FullDuplex], true, &[HEAD, LAST], &[Hold, Release]),
            (&[FullDuplex], true, &[HEAD, PIECE, PIECE, LAST], &[Hold, Hold, Hold, Release]),
            (&[FullDuplex], true, &[HEAD, PIECE, trailers], &[Hold, Hold, Release]),
            (&[FullDuplex], true, &[HEAD, LAST, LAST], &[Hold, Release, Ignore]),
            (&[FullDuplex], false, &[HEAD, PIECE, LAST], &[Pick, Echo, Echo]),
            (&[FullDuplex], false, &[HEAD, PIECE, trailers], &[Pick, Echo, Pass]),
            (&[FullDuplex], false, &[HEAD, LAST, LAST], &[Pick, Echo, Ignore]),
        ];
        for (modes, wants_body, parts, reactions) in cases {
            for mode in *modes {
                assert_eq!(course(*mode, *wants_body, parts), *reactions, "{mode:?} {parts:?}");
            }
        }
    }

    #[test]
    fn body_before_any_head_is_no_reason_to_pick() {
        for (mode, _) in BodyMode::ALL {
            let echoes = mode == BodyMode::FullDuplex;
            let expected = if echoes { Reaction::Echo } else { Reaction::Pass };
            assert_eq!(course(mode, true, &[LAST]), [expected], "{mode:?}");
        }
    }

    #[test]
    fn every_message_is_answered_once_or_goes_back_later() {
        let parts = [HEAD, HEAD_ALONE, PIECE, LAST, RequestPart::Trailers];
        let phases =
            [RequestPhase::Awaited, RequestPhase::Unpicked, RequestPhase::Picked, RequestPhase::Through];
        for (mode, _) in BodyMode::ALL {
            for (phase, part) in phases.iter().flat_map(|phase| parts.map(|part| (*phase, part))) {
                for wants_body in [false, true] {
                    let (reaction, _) = mode.react(phase, part, wants_body);
                    let silent = matches!(reaction, Reaction::Hold | Reaction::Ignore);
                    assert!(!silent || mode == BodyMode::FullDuplex, "{mode:?} {phase:?} {part:?}");
                }
            }
        }
    }
}
