//! Messages to Envoy.

use envoy_types::pb::envoy::service::ext_proc::v3::body_mutation::Mutation;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Told;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, HeaderMutation, HeadersResponse, ProcessingResponse,
    StreamedBodyResponse, TrailersResponse,
};

use crate::picker::picks::{pick_in_headers, pick_in_metadata};
use crate::proxy::carried::CarriedRequest;

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

/// A piece of a body that goes back; `is_last` if the body ends with it.
pub(crate) fn piece_back(direction: Direction, bytes: Vec<u8>, is_last: bool) -> ProcessingResponse {
    let streamed =
        StreamedBodyResponse { body: bytes, end_of_stream: is_last, ..StreamedBodyResponse::default() };
    let mutation = BodyMutation { mutation: Some(Mutation::StreamedResponse(streamed)) };
    body(direction, Some(CommonResponse { body_mutation: Some(mutation), ..CommonResponse::default() }))
}
