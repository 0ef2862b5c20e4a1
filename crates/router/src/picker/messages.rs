//! Messages to Envoy.

use envoy_types::pb::envoy::service::ext_proc::v3::body_mutation::Mutation;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Told;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ProcessingResponse,
    StreamedBodyResponse, TrailersResponse,
};

use crate::picker::picks::{pick_in_headers, pick_in_metadata};
use crate::proxy::carried::CarriedRequest;

/// Bytes of a piece of a body that goes back, at most: what the protocol advises.
const MAX_PIECE_BYTES: usize = 62 << 10;

/// Which way a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// To the worker.
    Request,
    /// To the client.
    Response,
}

/// A message with nothing else in it.
pub(crate) fn message(told: Told) -> ProcessingResponse {
    ProcessingResponse { response: Some(told), ..ProcessingResponse::default() }
}

/// The answer to a head.
pub(crate) fn head(direction: Direction, header_mutation: Option<HeaderMutation>) -> ProcessingResponse {
    let common = header_mutation
        .map(|mutation| CommonResponse { header_mutation: Some(mutation), ..CommonResponse::default() });
    let response = HeadersResponse { response: common };
    message(match direction {
        Direction::Request => Told::RequestHeaders(response),
        Direction::Response => Told::ResponseHeaders(response),
    })
}

/// The answer to a head that tells of the pick.
pub(crate) fn picked_head(carried: &CarriedRequest) -> ProcessingResponse {
    ProcessingResponse {
        dynamic_metadata: Some(pick_in_metadata(carried)),
        ..head(Direction::Request, Some(pick_in_headers(carried)))
    }
}

/// The answer to a body that tells of the pick.
pub(crate) fn picked_body(carried: &CarriedRequest) -> ProcessingResponse {
    let common =
        CommonResponse { header_mutation: Some(pick_in_headers(carried)), ..CommonResponse::default() };
    ProcessingResponse {
        dynamic_metadata: Some(pick_in_metadata(carried)),
        ..body(Direction::Request, Some(common))
    }
}

/// The answer to a body, or a piece of one, that stays as it is.
pub(crate) fn body(direction: Direction, common: Option<CommonResponse>) -> ProcessingResponse {
    let response = BodyResponse { response: common };
    message(match direction {
        Direction::Request => Told::RequestBody(response),
        Direction::Response => Told::ResponseBody(response),
    })
}

/// The answer to trailers.
pub(crate) fn trailers(direction: Direction) -> ProcessingResponse {
    message(match direction {
        Direction::Request => Told::RequestTrailers(TrailersResponse::default()),
        Direction::Response => Told::ResponseTrailers(TrailersResponse::default()),
    })
}

/// A body, or a part of one, that goes back in pieces; `is_last` if it ends with them.
pub(crate) fn echo(
    direction: Direction,
    bytes: Vec<u8>,
    is_last: bool,
) -> impl Iterator<Item = ProcessingResponse> {
    let count = bytes.len().div_ceil(MAX_PIECE_BYTES).max(1);
    let mut rest = bytes;
    (0..count).map(move |place| {
        let is_end = place + 1 == count;
        let piece = if is_end {
            std::mem::take(&mut rest)
        } else {
            let later = rest.split_off(MAX_PIECE_BYTES);
            std::mem::replace(&mut rest, later)
        };
        piece_back(direction, piece, is_last && is_end)
    })
}

fn piece_back(direction: Direction, bytes: Vec<u8>, is_last: bool) -> ProcessingResponse {
    let streamed =
        StreamedBodyResponse { body: bytes, end_of_stream: is_last, ..StreamedBodyResponse::default() };
    let mutation = BodyMutation { mutation: Some(Mutation::StreamedResponse(streamed)) };
    body(direction, Some(CommonResponse { body_mutation: Some(mutation), ..CommonResponse::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(bytes: Vec<u8>, is_last: bool) -> Vec<(Vec<u8>, bool)> {
        let piece = |message: ProcessingResponse| match message.response {
            Some(Told::RequestBody(BodyResponse {
                response: Some(CommonResponse { body_mutation, .. }),
            })) => match body_mutation.unwrap().mutation.unwrap() {
                Mutation::StreamedResponse(piece) => (piece.body, piece.end_of_stream),
                _ => (Vec::new(), false),
            },
            _ => (Vec::new(), false),
        };
        echo(Direction::Request, bytes, is_last).map(piece).collect()
    }

    #[test]
    fn body_goes_back_whole_in_pieces_of_which_only_the_last_ends_it() {
        for length in [0, 1, MAX_PIECE_BYTES, MAX_PIECE_BYTES + 1, 5_000_000] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            for is_last in [false, true] {
                let back = pieces(bytes.clone(), is_last);
                assert!(back.iter().all(|(piece, _)| piece.len() <= MAX_PIECE_BYTES));
                assert_eq!(back.iter().flat_map(|(piece, _)| piece.clone()).collect::<Vec<_>>(), bytes);
                let ends = back.iter().map(|(_, is_end)| *is_end);
                let expected = (0..back.len()).map(|place| is_last && place + 1 == back.len());
                assert!(ends.eq(expected), "{length}");
            }
        }
    }
}
