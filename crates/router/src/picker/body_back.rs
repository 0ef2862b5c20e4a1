//! A body, or a part of one, on its way back to Envoy.

use bytes::Bytes;
use envoy_types::pb::envoy::service::ext_proc::v3::ProcessingResponse;

use crate::picker::messages;
use crate::picker::messages::Direction;
use crate::proxy::carried::HeldBody;

/// Bytes of a piece that goes back, at most: what the protocol advises.
const MAX_PIECE_BYTES: usize = 62 << 10;

/// What goes back in pieces, one at a time: all of them at once would be the body a second time.
#[derive(Debug)]
pub(crate) struct BodyBack {
    direction: Direction,
    rest: Bytes,
    /// Whether the body ends with it.
    is_last: bool,
    is_over: bool,
    /// The room that it takes until all of it is back.
    _held: Option<HeldBody>,
}

impl BodyBack {
    /// All of `body`, which takes this room. An empty one is one empty piece.
    pub(crate) fn new(direction: Direction, body: Bytes, is_last: bool, held: Option<HeldBody>) -> Self {
        Self { direction, rest: body, is_last, is_over: false, _held: held }
    }
}

impl Iterator for BodyBack {
    type Item = ProcessingResponse;

    fn next(&mut self) -> Option<ProcessingResponse> {
        if self.is_over {
            return None;
        }
        let piece = self.rest.split_to(self.rest.len().min(MAX_PIECE_BYTES));
        self.is_over = self.rest.is_empty();
        Some(messages::piece_back(self.direction, piece.to_vec(), self.is_last && self.is_over))
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::ext_proc::v3::body_mutation::Mutation;
    use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Told;
    use envoy_types::pb::envoy::service::ext_proc::v3::{BodyResponse, CommonResponse};

    use super::*;

    fn piece(message: ProcessingResponse) -> (Vec<u8>, bool) {
        match message.response {
            Some(Told::RequestBody(BodyResponse {
                response: Some(CommonResponse { body_mutation, .. }),
            })) => match body_mutation.unwrap().mutation.unwrap() {
                Mutation::StreamedResponse(piece) => {
                    let most = MAX_PIECE_BYTES;
                    assert!(piece.body.capacity() <= most, "no piece keeps more than its own bytes");
                    (piece.body, piece.end_of_stream)
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn body_goes_back_whole_in_pieces_of_which_only_the_last_ends_it() {
        for length in [0, 1, MAX_PIECE_BYTES, MAX_PIECE_BYTES + 1, 5_000_000] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            for is_last in [false, true] {
                let body = BodyBack::new(Direction::Request, bytes.clone().into(), is_last, None);
                let back: Vec<(Vec<u8>, bool)> = body.map(piece).collect();
                assert_eq!(back.len(), length.div_ceil(MAX_PIECE_BYTES).max(1));
                assert_eq!(back.iter().flat_map(|(piece, _)| piece.clone()).collect::<Vec<_>>(), bytes);
                let ends = back.iter().map(|(_, is_end)| *is_end);
                let expected = (0..back.len()).map(|place| is_last && place + 1 == back.len());
                assert!(ends.eq(expected), "{length}");
            }
        }
    }
}
