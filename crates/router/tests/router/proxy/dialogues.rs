//! Bodies of `/v1/responses` and `/v1/messages`, and what is found in them for policies.

use sgl_router::internals::{Route, Wanted, facts};

#[test]
fn what_comes_first_in_a_dialogue_is_read_first_wherever_it_stands() {
    let turns = r#"[{"role": "user", "content": [{"type": "text", "text": "a"},
        {"type": "tool_result", "content": [{"type": "text", "text": "b"}]}]}, {"content": "c"}]"#;
    let items = r#"[{"content": [{"type": "input_text", "text": "a"}]}, {"output": "b"}, {"content": "c"}]"#;
    for (route, first, then, turns) in [
        (Route::Messages, "system", "messages", turns),
        (Route::CountTokens, "system", "messages", turns),
        (Route::Responses, "instructions", "input", items),
    ] {
        let before = format!(r#"{{"{first}": "s", "{then}": {turns}, "tools": []}}"#);
        let behind = format!(r#"{{"{then}": {turns}, "tools": [], "{first}": "s"}}"#);
        let (before, behind) =
            (facts(route, before.as_bytes(), Wanted::ALL), facts(route, behind.as_bytes(), Wanted::ALL));
        assert_eq!(before.text.as_deref(), Some("s\na\nb\nc"), "{route:?}");
        assert_eq!((&behind.text, &behind.prefix_hashes), (&before.text, &before.prefix_hashes));
        assert!(before.prefix_hashes.is_some());
        let alone = format!(r#"{{"{then}": {turns}}}"#);
        assert_eq!(facts(route, alone.as_bytes(), Wanted::ALL).text.as_deref(), Some("a\nb\nc"));
        let twice = format!(r#"{{"{then}": [], "{first}": "x", "{first}": "s", "{then}": {turns}}}"#);
        assert_eq!(facts(route, twice.as_bytes(), Wanted::ALL).text.as_deref(), Some("s\na\nb\nc"));
    }
    let body = r#"{"input": "hi", "previous_response_id": "resp_1", "max_output_tokens": 7, "stream": true}"#;
    let response = facts(Route::Responses, body.as_bytes(), Wanted::ALL);
    assert_eq!(
        (response.text.as_deref(), response.previous_response.as_deref()),
        (Some("hi"), Some("resp_1"))
    );
    assert_eq!((response.max_tokens, response.stream), (Some(7), true));
}
