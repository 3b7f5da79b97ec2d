//! What this server implements, document by document, with the test that shows it. The table of
//! features in [`crate::module`] is held against it: what service discovery says is of a document
//! here, and what a document here claims is said. `comity.doap` is made of this, and the README's
//! comparison begins with it.

use std::fmt::Write as _;

/// One XEP.
pub struct Xep {
    pub number: u16,
    pub name: &'static str,
    /// Of the document.
    pub version: &'static str,
    pub state: State,
    /// What is missing, or where it is.
    pub note: &'static str,
    /// What service discovery says of it; one that ends with `*` begins so.
    pub features: &'static [&'static str],
    /// A function of a test.
    pub test: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Complete,
    Partial,
}

impl State {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
        }
    }
}

/// The RFCs that servers of XMPP are made of, and those of MLS.
pub const RFCS: &[u16] = &[
    5802, 6120, 6121, 7395, 7590, 7622, 7677, 8305, 8555, 9266, 9420, 9750,
];

const fn xep(
    number: u16,
    name: &'static str,
    version: &'static str,
    features: &'static [&'static str],
    test: &'static str,
) -> Xep {
    Xep {
        number,
        name,
        version,
        state: State::Complete,
        note: "",
        features,
        test,
    }
}

const fn noted(xep: Xep, note: &'static str) -> Xep {
    Xep { note, ..xep }
}

const fn partly(xep: Xep, note: &'static str) -> Xep {
    Xep {
        state: State::Partial,
        note,
        ..xep
    }
}

/// By number.
#[rustfmt::skip]
pub const XEPS: &[Xep] = &[
    xep(4, "Data Forms", "2.13.2", &[], "a_form_changes_what_it_names"),
    xep(12, "Last Activity", "2.0", &["jabber:iq:last"], "contacts_learn_how_long_somebody_is_away"),
    xep(30, "Service Discovery", "2.5.0", &["http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"], "strangers_learn_nothing"),
    partly(xep(48, "Bookmarks", "1.2", &[], "old_and_new_clients_see_one_list"), "in private XML, where older clients keep them"),
    xep(49, "Private XML Storage", "1.2", &["jabber:iq:private"], "elements_are_kept_by_their_names"),
    xep(54, "vcard-temp", "1.3.0", &["vcard-temp"], "a_vcard_is_kept_and_shown_to_everybody"),
    noted(xep(59, "Result Set Management", "1.0", &[], "pages_in_both_directions"), "of archives"),
    partly(xep(60, "Publish-Subscribe", "1.25.0", &["http://jabber.org/protocol/pubsub*"], "a_publisher_states_what_it_expects"), "every account is a service; no collections, no subscription options"),
    noted(xep(77, "In-Band Registration", "2.4", &["jabber:iq:register"], "an_account_is_made_by_its_owner_where_that_is_open"), "new accounts where the operator has opened it"),
    xep(82, "XMPP Date and Time Profiles", "1.1.1", &[], "stamps"),
    xep(84, "User Avatar", "1.1.4", &[], "an_avatar_becomes_the_photo"),
    noted(xep(85, "Chat State Notifications", "2.1", &[], "what_is_kept_for_later"), "routed, and not kept"),
    xep(92, "Software Version", "1.1", &["jabber:iq:version"], "the_version_is_told_and_nothing_else"),
    partly(xep(114, "Jabber Component Protocol", "1.6", &[], "a_component_is_given_what_waited_and_speaks"), "with the people of this server"),
    noted(xep(115, "Entity Capabilities", "1.6.0", &[], "the_documents_examples"), "hashes of others are checked before they are believed"),
    xep(128, "Service Discovery Extensions", "1.0.1", &[], "addresses_are_found_by_service_discovery"),
    xep(153, "vCard-Based Avatars", "1.1.1", &[], "a_photo_becomes_the_avatar"),
    xep(156, "Discovering Alternative XMPP Connection Methods", "1.4.0", &[], "host_meta_is_what_xep_0156_says_for_everybody_to_read"),
    xep(157, "Contact Addresses for XMPP Services", "1.1.1", &[], "addresses_are_found_by_service_discovery"),
    xep(160, "Best Practices for Handling Offline Messages", "1.0.1", &["msgoffline"], "kept_in_order_until_somebody_is_there"),
    xep(163, "Personal Eventing Protocol", "1.2.2", &[], "a_tune_reaches_those_who_listen"),
    xep(178, "Best Practices for Use of SASL EXTERNAL with Certificates", "1.2", &[], "a_peer_proves_itself_by_its_certificate"),
    noted(xep(184, "Message Delivery Receipts", "1.4.0", &[], "what_is_said_about_messages_is_of_the_conversation"), "routed, copied and archived"),
    xep(185, "Dialback Key Generation and Validation", "1.0", &[], "keys_are_those_of_the_recommendation"),
    xep(191, "Blocking Command", "1.3", &["urn:xmpp:blocking"], "a_blocked_contact_finds_nobody_there"),
    xep(198, "Stream Management", "1.6.3", &[], "a_client_comes_back_to_its_session"),
    xep(199, "XMPP Ping", "2.0.1", &["urn:xmpp:ping"], "the_domain_answers_what_it_can"),
    xep(202, "Entity Time", "2.0", &["urn:xmpp:time"], "the_server_tells_the_time"),
    xep(203, "Delayed Delivery", "2.0", &[], "kept_in_order_until_somebody_is_there"),
    xep(205, "Best Practices to Discourage Denial of Service Attacks", "1.0.2", &[], "pauses_of_an_address_double_up_to_a_bound"),
    xep(215, "External Service Discovery", "1.0.0", &["urn:xmpp:extdisco:2"], "accounts_are_told_what_they_ask_for"),
    xep(220, "Server Dialback", "1.1.1", &[], "a_peer_without_a_certificate_proves_itself_by_dialback"),
    xep(222, "Persistent Storage of Public Data via PubSub", "1.0", &[], "a_publisher_states_what_it_expects"),
    xep(223, "Persistent Storage of Private Data via PubSub", "1.1.1", &[], "what_was_read_is_known_to_all_ones_clients"),
    noted(xep(227, "Portable Import/Export Format for XMPP-IM Servers", "1.1", &[], "an_account_goes_out_and_comes_back_as_it_was"), "by `comity export` and `import`"),
    xep(280, "Message Carbons", "1.0.1", &["urn:xmpp:carbons:2"], "what_one_client_says_and_hears_the_others_know"),
    xep(288, "Bidirectional Server-to-Server Connections", "1.0.1", &[], "answers_go_on_the_stream_that_is_there_and_on_another_when_it_is_over"),
    xep(292, "vCard4 Over XMPP", "0.12.0", &[], "old_and_new_vcards_are_one"),
    noted(xep(297, "Stanza Forwarding", "1.0", &[], "what_one_client_says_and_hears_the_others_know"), "in carbons and archives"),
    noted(xep(308, "Last Message Correction", "1.2.1", &[], "what_is_said_about_messages_is_of_the_conversation"), "routed, copied and archived"),
    noted(xep(313, "Message Archive Management", "1.1.3", &["urn:xmpp:mam:2*"], "pages_in_both_directions"), "of accounts"),
    noted(xep(333, "Displayed Markers", "0.5.0", &[], "what_is_said_about_messages_is_of_the_conversation"), "routed, copied and archived"),
    xep(334, "Message Processing Hints", "1.0.0", &[], "what_is_kept_for_later"),
    xep(352, "Client State Indication", "1.0.0", &[], "an_idle_client_is_woken_only_for_what_matters"),
    xep(359, "Unique and Stable Stanza IDs", "0.7.0", &["urn:xmpp:sid:0"], "what_claims_to_be_ours_goes_and_nothing_else"),
    xep(363, "HTTP File Upload", "1.2.0", &["urn:xmpp:http:upload:0"], "a_file_is_put_once_and_read_by_whoever_knows_it"),
    xep(368, "SRV records for XMPP over TLS", "1.1.0", &[], "two_domains_find_each_other_by_direct_tls"),
    noted(xep(384, "OMEMO Encryption", "0.9.1", &[], "omemo_between_two_domains"), "what it needs of a server"),
    xep(386, "Bind 2", "1.1.0", &[], "everything_in_one_round_trip"),
    xep(388, "Extensible SASL Profile", "1.0.4", &[], "everything_in_one_round_trip"),
    xep(398, "User Avatar to vCard-Based Avatars Conversion", "1.0.0", &["urn:xmpp:pep-vcard-conversion:0"], "a_photo_becomes_the_avatar"),
    xep(402, "PEP Native Bookmarks", "1.2.0", &["urn:xmpp:bookmarks:1#compat"], "old_and_new_clients_see_one_list"),
    noted(xep(424, "Message Retraction", "0.4.2", &[], "what_is_said_about_messages_is_of_the_conversation"), "routed, copied and archived; the archive keeps what is retracted"),
    noted(xep(440, "SASL Channel-Binding Type Capability", "1.0.0", &[], "the_certificates_binding_is_offered_beside"), "tls-exporter and tls-server-end-point, over TLS 1.3"),
    xep(441, "Message Archive Management Preferences", "0.2.0", &[], "whose_messages_are_kept_the_account_says"),
    noted(xep(444, "Message Reactions", "0.2.0", &[], "what_is_said_about_messages_is_of_the_conversation"), "routed, copied and archived"),
    noted(xep(461, "Message Replies", "0.2.0", &[], "what_is_said_about_messages_is_of_the_conversation"), "routed, copied and archived"),
    xep(478, "Stream Limits Advertisement", "0.2.0", &[], "limits_grow_with_the_stream"),
    partly(xep(484, "Fast Authentication Streamlining Tokens", "0.2.0", &[], "a_token_is_asked_for_and_logs_in_again"), "HT-SHA-256-EXPR, -ENDP and -NONE"),
    noted(xep(490, "Message Displayed Synchronization", "1.0.0", &[], "what_was_read_is_known_to_all_ones_clients"), "by PEP"),
];

/// `comity.doap`.
#[must_use]
pub fn doap() -> String {
    let mut out = String::from(HEAD);
    for rfc in RFCS {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "    <implements rdf:resource=\"https://www.rfc-editor.org/info/rfc{rfc}\"/>"
        );
    }
    for xep in XEPS {
        let note = match xep.note {
            "" => format!("shown by {}", xep.test),
            note => format!("{note}; shown by {}", xep.test),
        };
        let _ = write!(
            out,
            "    <implements>\n      <xmpp:SupportedXep>\n        \
             <xmpp:xep rdf:resource=\"https://xmpp.org/extensions/xep-{:04}.html\"/>\n        \
             <xmpp:version>{}</xmpp:version>\n        <xmpp:status>{}</xmpp:status>\n        \
             <xmpp:note>{note}</xmpp:note>\n      </xmpp:SupportedXep>\n    </implements>\n",
            xep.number,
            xep.version,
            xep.state.as_str(),
        );
    }
    out.push_str("  </Project>\n</rdf:RDF>\n");
    out
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\" \
xmlns:xmpp=\"https://linkmauve.fr/ns/xmpp-doap#\" xml:lang=\"en\">
  <Project xmlns=\"http://usefulinc.com/ns/doap#\">
    <name>Comity</name>
    <shortdesc>A federated homeserver: XMPP, with encrypted rooms by MLS</shortdesc>
    <category rdf:resource=\"https://linkmauve.fr/ns/xmpp-doap#category-server\"/>
    <license rdf:resource=\"https://spdx.org/licenses/MIT\"/>
    <license rdf:resource=\"https://spdx.org/licenses/Apache-2.0\"/>
    <programming-language>Rust</programming-language>
    <os>Linux</os>
";

#[cfg(test)]
mod tests;
