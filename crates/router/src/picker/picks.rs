//! Picks and refusals, as Envoy is told of them.

use std::collections::HashMap;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as ToldHeader, HeaderValueOption};
use envoy_types::pb::envoy::service::ext_proc::v3::{HeaderMutation, ImmediateResponse};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use http::{HeaderMap, Response, header};

use crate::picker::names::{DESTINATION, LB};
use crate::proxy::carried::CarriedRequest;

/// The pick in headers: in place of what a client says.
pub(crate) fn pick_in_headers(carried: &CarriedRequest) -> HeaderMutation {
    let mut set_headers = vec![told(DESTINATION, carried.destination().as_bytes())];
    let others = carried.headers().iter();
    set_headers.extend(others.map(|(name, value)| told(name.as_str(), value.as_bytes())));
    HeaderMutation { set_headers, ..HeaderMutation::default() }
}

/// The pick in metadata.
pub(crate) fn pick_in_metadata(carried: &CarriedRequest) -> Struct {
    let kind = Some(Kind::StringValue(carried.destination().to_owned()));
    let pick = Struct { fields: HashMap::from([(DESTINATION.to_owned(), Value { kind })]) };
    let kind = Some(Kind::StructValue(pick));
    Struct { fields: HashMap::from([(LB.to_owned(), Value { kind })]) }
}

/// These headers; `None` if there are none.
pub(crate) fn headers(headers: &HeaderMap) -> Option<HeaderMutation> {
    let set_headers: Vec<_> =
        headers.iter().map(|(name, value)| told(name.as_str(), value.as_bytes())).collect();
    (!set_headers.is_empty()).then(|| HeaderMutation { set_headers, ..HeaderMutation::default() })
}

/// What a client is told in place of a worker's answer.
pub(crate) fn refusal(response: Response<Bytes>) -> ImmediateResponse {
    let (mut head, body) = response.into_parts();
    // Those are Envoy's.
    head.headers.remove(header::CONNECTION);
    ImmediateResponse {
        status: Some(HttpStatus { code: i32::from(head.status.as_u16()) }),
        headers: headers(&head.headers),
        body: body.into(),
        details: "sgl_router_picker".to_owned(),
        ..ImmediateResponse::default()
    }
}

fn told(name: &str, value: &[u8]) -> HeaderValueOption {
    let header = ToldHeader { key: name.to_owned(), raw_value: value.to_vec(), ..ToldHeader::default() };
    HeaderValueOption {
        header: Some(header),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}
