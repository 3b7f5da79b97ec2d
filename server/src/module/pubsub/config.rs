//! What the owner of a node decides about it (XEP-0060 §16.4.4), as a form and as stored.

use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::form::{Field, Form, FormKind, boolean};
use serde::{Deserialize, Serialize};

pub(crate) const NODE_CONFIG: &str = "http://jabber.org/protocol/pubsub#node_config";
pub(crate) const PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";
const META_DATA: &str = "http://jabber.org/protocol/pubsub#meta-data";
/// Bytes of a title, a type, a description, and of the name of a roster group.
const TEXT_BYTES: usize = 1023;
/// Roster groups that one node names.
const GROUPS: usize = 64;

/// XEP-0060 §4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccessModel {
    Open,
    Presence,
    Roster,
    Authorize,
    Whitelist,
}

/// Who may publish beside the owner and those with the affiliation for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PublishModel {
    Publishers,
    Subscribers,
    Open,
}

/// When the last item is told to somebody who has not just asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SendLast {
    Never,
    OnSub,
    OnSubAndPresence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) access_model: AccessModel,
    pub(crate) roster_groups_allowed: Vec<String>,
    pub(crate) publish_model: PublishModel,
    pub(crate) persist_items: bool,
    pub(crate) max_items: usize,
    pub(crate) send_last: SendLast,
    pub(crate) deliver_payloads: bool,
    pub(crate) notify_retract: bool,
    pub(crate) notify_delete: bool,
    pub(crate) notify_config: bool,
    pub(crate) title: String,
    pub(crate) description: String,
    /// Namespace of the payloads.
    pub(crate) payload_type: String,
}

impl Default for Config {
    /// XEP-0163 §4.3.4: the last item, for those who see the owner's presence.
    fn default() -> Self {
        Self {
            access_model: AccessModel::Presence,
            roster_groups_allowed: Vec::new(),
            publish_model: PublishModel::Publishers,
            persist_items: true,
            max_items: 1,
            send_last: SendLast::OnSubAndPresence,
            deliver_payloads: true,
            notify_retract: true,
            notify_delete: true,
            notify_config: false,
            title: String::new(),
            description: String::new(),
            payload_type: String::new(),
        }
    }
}

/// Names of the values of a list field.
trait Listed: Sized + Copy + PartialEq + 'static {
    const NAMES: &'static [(&'static str, Self)];

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, value)| *value == self);
        found.map_or("", |(name, _)| name)
    }

    fn of(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

impl Listed for AccessModel {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("authorize", Self::Authorize),
        ("open", Self::Open),
        ("presence", Self::Presence),
        ("roster", Self::Roster),
        ("whitelist", Self::Whitelist),
    ];
}

impl Listed for PublishModel {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("publishers", Self::Publishers),
        ("subscribers", Self::Subscribers),
        ("open", Self::Open),
    ];
}

impl Listed for SendLast {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("never", Self::Never),
        ("on_sub", Self::OnSub),
        ("on_sub_and_presence", Self::OnSubAndPresence),
    ];
}

impl Config {
    pub(crate) fn stored(&self) -> String {
        // A struct of plain fields always becomes JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What is not understood (a newer version wrote it) is treated as the owner's alone.
    pub(crate) fn from_stored(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self {
            access_model: AccessModel::Whitelist,
            ..Self::default()
        })
    }

    /// This configuration with what a form changes. `most` items can be kept. Fields that the
    /// service does not know are refused where `strict`, as the preconditions of a publisher are.
    pub(crate) fn with(&self, form: &Form, most: usize, strict: bool) -> Result<Self, StanzaError> {
        let mut config = self.clone();
        for field in &form.fields {
            if field.var != "FORM_TYPE" && !config.set(field, most)? && strict {
                return Err(wrong(&format!("{} is not known here", field.var)));
            }
        }
        Ok(config)
    }

    /// Takes one field over; false if it is unknown.
    fn set(&mut self, field: &Field, most: usize) -> Result<bool, StanzaError> {
        let name = field.var.strip_prefix("pubsub#").unwrap_or(&field.var);
        let value = field.values.first().map(String::as_str).unwrap_or_default();
        match name {
            "access_model" => self.access_model = listed(field, value)?,
            "roster_groups_allowed" => self.roster_groups_allowed = groups(field)?,
            "publish_model" => self.publish_model = listed(field, value)?,
            "persist_items" => self.persist_items = flag(field, value)?,
            "max_items" => self.max_items = count(field, value, most)?,
            "send_last_published_item" => self.send_last = listed(field, value)?,
            "deliver_payloads" => self.deliver_payloads = flag(field, value)?,
            "notify_retract" => self.notify_retract = flag(field, value)?,
            "notify_delete" => self.notify_delete = flag(field, value)?,
            "notify_config" => self.notify_config = flag(field, value)?,
            "title" => self.title = text(field, value)?,
            "description" => self.description = text(field, value)?,
            "type" => self.payload_type = text(field, value)?,
            // What is always so here may be asked for.
            "deliver_notifications" if flag(field, value)? => {}
            "presence_based_delivery" if !flag(field, value)? => {}
            "subscribe" if flag(field, value)? => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The form to fill in, with what is so now.
    pub(crate) fn form(&self, kind: FormKind) -> Form {
        let flag = |var: &str, label, value: bool| {
            Field::single(var, "boolean", label, if value { "1" } else { "0" })
        };
        let text = |var: &str, label, value: &str| Field::single(var, "text-single", label, value);
        let groups = Field {
            var: "pubsub#roster_groups_allowed".to_owned(),
            kind: Some("list-multi"),
            label: Some("Roster groups that may read"),
            values: self.roster_groups_allowed.clone(),
            options: Vec::new(),
        };
        Form::new(kind, NODE_CONFIG)
            .with(text("pubsub#title", "Title", &self.title))
            .with(text("pubsub#description", "Description", &self.description))
            .with(text("pubsub#type", "Type of payloads", &self.payload_type))
            .with(list(
                "pubsub#access_model",
                "Who may read",
                self.access_model,
            ))
            .with(groups)
            .with(list(
                "pubsub#publish_model",
                "Who may publish",
                self.publish_model,
            ))
            .with(flag(
                "pubsub#persist_items",
                "Keep items",
                self.persist_items,
            ))
            .with(text(
                "pubsub#max_items",
                "Items kept",
                &self.max_items.to_string(),
            ))
            .with(list(
                "pubsub#send_last_published_item",
                "When the last item is sent",
                self.send_last,
            ))
            .with(flag(
                "pubsub#deliver_payloads",
                "Notify with payloads",
                self.deliver_payloads,
            ))
            .with(flag(
                "pubsub#notify_retract",
                "Notify of retraction",
                self.notify_retract,
            ))
            .with(flag(
                "pubsub#notify_delete",
                "Notify of deletion",
                self.notify_delete,
            ))
            .with(flag(
                "pubsub#notify_config",
                "Notify of configuration",
                self.notify_config,
            ))
    }

    /// XEP-0060 §5.4: what service discovery tells of a node.
    pub(crate) fn meta_data(&self) -> Form {
        let text = |var: &str, label, value: &str| Field::single(var, "text-single", label, value);
        Form::new(FormKind::Result, META_DATA)
            .with(text("pubsub#title", "Title", &self.title))
            .with(text("pubsub#description", "Description", &self.description))
            .with(text("pubsub#type", "Type of payloads", &self.payload_type))
            .with(list(
                "pubsub#access_model",
                "Who may read",
                self.access_model,
            ))
    }
}

fn list<T: Listed>(var: &str, label: &'static str, value: T) -> Field {
    let names: Vec<&'static str> = T::NAMES.iter().map(|(name, _)| *name).collect();
    Field::single(var, "list-single", label, value.name()).with_options(&names)
}

fn listed<T: Listed>(field: &Field, value: &str) -> Result<T, StanzaError> {
    T::of(value).ok_or_else(|| wrong(&format!("'{value}' is no value of {}", field.var)))
}

fn flag(field: &Field, value: &str) -> Result<bool, StanzaError> {
    boolean(value).ok_or_else(|| wrong(&format!("{} is 0 or 1", field.var)))
}

/// XEP-0060 §16.4.4: a number, or "max".
fn count(field: &Field, value: &str, most: usize) -> Result<usize, StanzaError> {
    match value {
        "max" => Ok(most),
        number => number
            .parse()
            .ok()
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| wrong(&format!("{} is from 1 to {most}, or max", field.var))),
    }
}

fn text(field: &Field, value: &str) -> Result<String, StanzaError> {
    if value.len() > TEXT_BYTES {
        return Err(wrong(&format!(
            "{} has at most {TEXT_BYTES} bytes",
            field.var
        )));
    }
    Ok(value.to_owned())
}

fn groups(field: &Field) -> Result<Vec<String>, StanzaError> {
    if field.values.len() > GROUPS {
        return Err(wrong(&format!(
            "{} names at most {GROUPS} groups",
            field.var
        )));
    }
    field
        .values
        .iter()
        .map(|value| text(field, value))
        .collect()
}

fn wrong(text: &str) -> StanzaError {
    StanzaError::new(ErrorType::Modify, StanzaCondition::NotAcceptable).with_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 100;

    fn changed(fields: &[(&str, &str)]) -> Result<Config, StanzaError> {
        let mut form = Form::new(FormKind::Submit, NODE_CONFIG);
        for (var, value) in fields {
            form.fields.push(Field {
                var: format!("pubsub#{var}"),
                values: vec![(*value).to_owned()],
                ..Field::default()
            });
        }
        Config::default().with(&form, MOST, true)
    }

    #[test]
    fn a_form_changes_what_it_names() {
        let config = changed(&[
            ("access_model", "whitelist"),
            ("max_items", "max"),
            ("send_last_published_item", "never"),
            ("persist_items", "true"),
        ])
        .unwrap();
        let expected = Config {
            access_model: AccessModel::Whitelist,
            max_items: MOST,
            send_last: SendLast::Never,
            ..Config::default()
        };
        assert_eq!(config, expected);
        assert_eq!(Config::from_stored(&config.stored()), config);
        let form = config.form(FormKind::Form);
        assert_eq!(Config::default().with(&form, MOST, true), Ok(config));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (var, value) in [
            ("access_model", "secret"),
            ("max_items", "0"),
            ("max_items", "101"),
            ("max_items", "many"),
            ("persist_items", "yes"),
            ("collection", "x"),
            ("presence_based_delivery", "1"),
        ] {
            assert!(changed(&[(var, value)]).is_err(), "{var} {value}");
        }
        assert!(changed(&[("title", &"x".repeat(1024))]).is_err());
    }

    #[test]
    fn what_a_newer_version_wrote_is_the_owners_alone() {
        let config = Config::from_stored(r#"{"access_model":"telepathy"}"#);
        assert_eq!(config.access_model, AccessModel::Whitelist);
    }
}
