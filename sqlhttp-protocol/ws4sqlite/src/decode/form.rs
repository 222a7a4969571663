//! Decodes request bodies that HTML forms send: `transaction[0][query]=SELECT+1&resultFormat=list`, or
//! `Transaction.0.Query=…`.
//!
//! A form cannot contain parameter values.

use std::sync::Arc;

use sqlhttp_text::form;

use super::request::is_list;
use crate::call::{Call, Credentials, Item, Sql};
use crate::reply::Refusal;

/// The indexes of queries and statements in a form must be below this limit. The limit bounds the memory: an index
/// takes a few bytes in the body, but for each lower index a query or statement is allocated.
const ITEMS_MAX: usize = 16_000;

/// Decodes a body of the content type `application/x-www-form-urlencoded`. Unknown names are ignored.
///
/// # Errors
/// Status 400 if the form contains parameter values, an index that is not a number or is too high, or a `noFail` that
/// is not a boolean.
pub fn decode_form(body: &[u8]) -> Result<Call, Refusal> {
    let mut call = Call { credentials: None, list: false, items: Vec::new() };
    for pair in body.split(|&b| b == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|&b| b == b'=').unwrap_or(pair.len());
        let name = unescape(&pair[..at]).to_ascii_lowercase().replace('[', ".").replace(']', "");
        let value = unescape(pair.get(at + 1..).unwrap_or_default());
        set(&mut call, &name, value).map_err(|reason| Refusal::unparsable(&reason))?;
    }
    Ok(call)
}

fn set(call: &mut Call, name: &str, value: String) -> Result<(), String> {
    match name.split('.').collect::<Vec<_>>()[..] {
        ["resultformat"] => call.list = is_list(&value),
        ["credentials", "user"] => call.credentials.get_or_insert_with(Credentials::default).user = value,
        ["credentials", "password"] => call.credentials.get_or_insert_with(Credentials::default).password = value,
        ["transaction", index, field] => set_item(item(&mut call.items, index)?, field, value)?,
        ["transaction", _, "values" | "valuesbatch", ..] => return Err("a form cannot carry values".to_owned()),
        _ => {}
    }
    Ok(())
}

fn item<'a>(items: &'a mut Vec<Item>, index: &str) -> Result<&'a mut Item, String> {
    let parsed = index.parse().ok().filter(|&index: &usize| index < ITEMS_MAX);
    let index = parsed.ok_or_else(|| format!("{index:?} is no index of an item"))?;
    if items.len() <= index {
        items.resize_with(index + 1, Item::default);
    }
    items.get_mut(index).ok_or_else(|| "no such item".to_owned())
}

fn set_item(item: &mut Item, field: &str, value: String) -> Result<(), String> {
    match field {
        "query" => item.query = Some(Sql::Text(Arc::from(value))),
        "statement" => item.statement = Some(Sql::Text(Arc::from(value))),
        "nofail" => item.extras.no_fail = boolean(&value)?,
        "values" | "valuesbatch" => return Err("a form cannot carry values".to_owned()),
        "encoder" | "decoder" => item.extras.encrypted = true,
        _ => {}
    }
    Ok(())
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "on" => Ok(true),
        "false" | "f" | "0" | "off" | "" => Ok(false),
        _ => Err(format!("{text:?} is no boolean")),
    }
}

fn unescape(text: &[u8]) -> String {
    String::from_utf8_lossy(&form::decode(text)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(sql: &Option<Sql>) -> &str {
        match sql {
            Some(Sql::Text(text)) => text,
            other => panic!("no text: {other:?}"),
        }
    }

    #[test]
    fn both_spellings_of_names() {
        let body = b"transaction[0][query]=SELECT+1%2B1&Transaction.1.Statement=X%&transaction%5B1%5D%5BnoFail%5D=true\
            &resultFormat=LIST&credentials[user]=u&credentials.password=p%26&unknown=1&&";
        let call = decode_form(body).unwrap();
        assert!(call.list);
        assert_eq!(call.credentials, Some(Credentials { user: "u".into(), password: "p&".into() }));
        assert_eq!(text(&call.items[0].query), "SELECT 1+1");
        assert_eq!(text(&call.items[1].statement), "X%");
        assert!(call.items[1].extras.no_fail && !call.items[0].extras.no_fail);
    }

    #[test]
    fn forms_with_errors_are_refused() {
        for body in [
            "transaction[0][values]=1",
            "transaction[0][values][a]=1",
            "transaction[x][query]=1",
            "transaction[16000][query]=1",
            "transaction[0][noFail]=maybe",
        ] {
            let refusal = decode_form(body.as_bytes()).unwrap_err();
            assert_eq!((refusal.status, refusal.req_idx), (400, -1), "{body}");
            assert!(refusal.error.starts_with("in parsing body: "), "{body}");
        }
    }

    #[test]
    fn a_body_without_items_is_an_empty_call() {
        assert_eq!(decode_form(b"{\"transaction\":[]}").unwrap().item_count(), 0);
    }
}
