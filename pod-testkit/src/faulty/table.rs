//! The faults, and the cases that each must fail.

/// Lists faults: a name, what it is, and the cases that fail with it.
macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident breaks [$($case:literal),* $(,)?];)*) => {
        /// One way to be wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Fault {
            /// No fault: every case passes.
            None,
            $($(#[doc = $doc])+ $name,)*
        }

        impl Fault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    Self::None => "None",
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Cases that must fail with it. Others may fail as well.
            #[must_use]
            pub fn breaks(self) -> &'static [&'static str] {
                match self {
                    Self::None => &[],
                    $(Self::$name => &[$($case),*],)*
                }
            }
        }
    };
}

faults! {
    /// Create starts what it makes, asked or not.
    CreateStarts breaks [
        "attach::one_that_does_not_run_is_refused",
        "exec::a_stopped_workload_is_refused",
        "network::probes_need_a_running_workload",
    ];
    /// Create never starts what it makes.
    CreateNeverStarts breaks ["lifecycle::create_can_start_it"];
    /// Start says that it did, and does nothing.
    StartLost breaks [
        "lifecycle::start_runs_it",
        "lifecycle::a_stopped_one_starts_again",
        "lifecycle::what_is_missing_is_not_found",
    ];
    /// What was done already is done again, by its own word: started, stopped, removed, detached, made.
    OutcomesLie breaks [
        "lifecycle::start_twice_is_already_running",
        "lifecycle::stop_twice_is_already_stopped",
        "lifecycle::remove_twice_is_already_absent",
        "network::making_it_twice_finds_it",
        "network::detaching_twice_is_already_detached",
    ];
    /// Stop kills at once.
    StopKills breaks [
        "lifecycle::stop_asks_with_sigterm",
        "lifecycle::stop_asks_with_the_signal_given",
        "lifecycle::stop_kills_when_the_grace_is_over",
    ];
    /// Stop always asks with SIGTERM.
    StopSignalIgnored breaks ["lifecycle::stop_asks_with_the_signal_given"];
    /// Stop says that what it killed ended by itself.
    KilledSaysStopped breaks [
        "lifecycle::stop_kills_when_the_grace_is_over",
        "lifecycle::stop_without_grace_kills_at_once",
    ];
    /// Every exit status is 0.
    StatusIsZero breaks [
        "lifecycle::an_exit_code_is_kept",
        "exec::exit_codes_are_told",
        "exec::death_by_a_signal_is_told",
        "exec::what_ends_in_time_is_no_timeout",
        "exec::the_workloads_end_ends_programs",
    ];
    /// Every exit status is lost.
    StatusLost breaks [
        "lifecycle::the_commands_argv_is_kept",
        "exec::a_program_need_not_read_its_stdin",
        "exec::a_signal_after_the_end_is_no_error",
        "copy::a_dropped_download_ends",
        "os::disks_have_room",
        "os::facts_are_found",
        "os::folders_are_listed",
        "os::processes_are_listed_and_killed",
        "os::the_host_name_is_the_workloads",
    ];
    /// The errors of programs that can't be run carry no 126 or 127.
    ShellCodesLost breaks [
        "lifecycle::a_failed_start_leaves_the_shells_code",
        "exec::a_missing_program_is_127",
        "exec::a_file_that_is_no_program_is_126",
    ];
    /// Every error is of one kind.
    KindsLost breaks [
        "lifecycle::a_removed_ones_connection_is_dead",
        "cross::a_cancelled_stop_or_remove_can_be_repeated",
    ];
    /// A create that fails leaves the workload.
    FailedCreateLeaves breaks [
        "lifecycle::a_failed_create_leaves_nothing",
        "lifecycle::a_bad_spec_is_refused",
        "network::a_failed_attachment_makes_no_workload",
        "cross::secrets_are_not_shown",
    ];
    /// Keep-alive is passed over.
    KeepAliveIgnored breaks ["lifecycle::keep_alive_outlives_the_command", "lifecycle::the_spec_is_kept"];
    /// The events of ends and attachments are lost.
    EventsLost breaks [
        "lifecycle::events_come_in_order",
        "lifecycle::wait_exit_gives_the_status",
        "network::changes_are_events",
    ];
    /// Each event comes after its successor.
    EventsSwapped breaks [
        "lifecycle::events_come_in_order",
        "lifecycle::wait_exit_gives_the_status",
        "network::changes_are_events",
    ];
    /// A create of what is there gives what is there.
    CreateFinds breaks [
        "lifecycle::of_two_at_once_one_is_made",
        "lifecycle::a_name_is_taken_once",
        "cross::errors_name_operation_and_backend",
    ];
    /// Remove kills what runs, forced or not.
    RemoveForces breaks [
        "lifecycle::a_running_one_is_removed_only_by_force",
        "cross::errors_name_operation_and_backend",
    ];
    /// Remove says that it did, and does nothing.
    RemoveLost breaks ["network::a_removed_ones_address_is_free"];
    /// Every workload has the same id.
    IdsRepeat breaks ["lifecycle::eight_at_once", "lifecycle::a_name_can_be_used_again"];
    /// Lists come in the wrong order.
    ListsReversed breaks [
        "lifecycle::all_are_listed_by_name",
        "lifecycle::lists_filter_by_label",
        "network::attachments_are_listed",
    ];
    /// Lists pass over the filter's labels.
    LabelsIgnored breaks ["lifecycle::lists_filter_by_label"];
    /// Lists pass over the filter's state.
    StatesIgnored breaks ["lifecycle::create_makes_one_that_does_not_run", "lifecycle::lists_filter_by_state"];
    /// An argv is joined by blanks and split again.
    ArgvMangled breaks [
        "lifecycle::stop_asks_with_sigterm",
        "lifecycle::stop_asks_with_the_signal_given",
        "lifecycle::stop_kills_when_the_grace_is_over",
        "exec::argv_is_kept",
    ];
    /// Bytes that are no UTF-8 are replaced.
    BytesReplaced breaks ["logs::they_hold_bytes_as_they_were", "exec::argv_may_hold_any_bytes"];
    /// Environments are passed over.
    EnvDropped breaks [
        "lifecycle::the_spec_is_kept",
        "lifecycle::the_environment_arrives",
        "exec::the_environment_is_added_to",
        "exec::the_workloads_environment_is_there",
        "exec::the_path_is_searched",
    ];
    /// Working directories are passed over.
    CwdDropped breaks ["lifecycle::the_working_directory_arrives", "exec::the_working_directory_is_chosen"];
    /// Users are passed over.
    UserDropped breaks [
        "lifecycle::the_user_arrives",
        "lifecycle::a_bad_spec_is_refused",
        "exec::the_user_is_chosen",
    ];
    /// Host names are passed over.
    HostsDropped breaks ["lifecycle::the_hosts_are_known"];
    /// Limits are passed over.
    LimitsDropped breaks [
        "limits::memory_beyond_the_limit_kills",
        "limits::processes_beyond_the_limit_are_refused",
        "limits::cpu_time_is_shared_out",
        "os::memory_shows_its_limit",
        "os::processors_show_their_limit",
    ];
    /// Mounts are passed over.
    MountsDropped breaks [
        "mounts::what_is_written_is_seen_on_both_sides",
        "mounts::a_read_only_one_is_not_written_to",
        "mounts::a_tmpfs_is_empty_and_bounded",
        "mounts::a_path_that_is_not_there_is_refused",
    ];
    /// Every mount can be written to.
    MountsWritable breaks ["mounts::a_read_only_one_is_not_written_to"];
    /// A tmpfs takes more than its size.
    TmpfsUnbounded breaks ["mounts::a_tmpfs_is_empty_and_bounded"];
    /// Ports are not published.
    PortsDropped breaks ["ports::a_published_port_answers", "ports::a_port_of_the_machine_is_taken_once"];
    /// The ports of one that does not run are told.
    PortsLinger breaks ["ports::a_published_port_answers"];
    /// Nothing is started again.
    RestartDropped breaks ["restart::what_fails_is_started_again_so_many_times"];
    /// All that may be started again always is.
    RestartAlways breaks [
        "restart::what_fails_is_started_again_so_many_times",
        "restart::what_succeeds_is_left",
    ];
    /// What is stopped is started again.
    StopRestarts breaks ["restart::one_that_was_stopped_stays_so"];
    /// The backend does not say what it is.
    InfoEmpty breaks ["lifecycle::the_backend_says_what_it_is"];
    /// Logs are all of stdout.
    LogStreamsMixed breaks ["logs::both_streams_are_kept"];
    /// Logs pass over the tail.
    TailIgnored breaks ["logs::the_tail_is_the_last_records"];
    /// Log records have no time.
    LogTimesDropped breaks ["logs::records_carry_their_time", "logs::since_leaves_out_what_was_before"];
    /// Logs pass over the time since when.
    SinceIgnored breaks ["logs::since_leaves_out_what_was_before"];
    /// Logs are not followed.
    FollowIgnored breaks ["logs::following_goes_on_to_the_end"];
    /// Only the last log record is kept.
    LogsCut breaks [
        "logs::both_streams_are_kept",
        "logs::the_tail_is_the_last_records",
        "logs::records_carry_their_time",
        "logs::since_leaves_out_what_was_before",
        "logs::following_goes_on_to_the_end",
        "logs::they_hold_bytes_as_they_were",
        "logs::they_hold_line_ends_as_they_were",
        "logs::a_second_start_adds_to_them",
    ];
    /// Logs have line feeds for line ends.
    LogLineEndsChanged breaks ["logs::they_hold_line_ends_as_they_were"];
    /// Logs begin with a greeting.
    LogsGreet breaks ["logs::there_are_none_before_the_start"];
    /// What is written to stdin is lost.
    StdinLost breaks ["exec::output_comes_as_it_is_printed"];
    /// The end of stdin is not passed on.
    StdinEndLost breaks [
        "attach::much_stdin_arrives_whole",
        "attach::the_end_of_stdin_is_seen",
        "exec::stdin_comes_back_both_ways",
        "exec::the_end_of_stdin_is_seen",
        "os::files_are_written_and_read",
    ];
    /// A stdin is given that was not asked for.
    StdinInvented breaks [
        "attach::without_stdin_asked_for_there_is_none",
        "exec::without_stdin_there_is_an_empty_one",
    ];
    /// What an attached process holds is killed when it is let go of.
    AttachKills breaks [
        "attach::letting_go_leaves_it_running",
        "attach::letting_go_leaves_its_terminal_open",
    ];
    /// Attach passes over what was printed before.
    AttachForgets breaks [
        "attach::what_was_printed_before_comes_first",
    ];
    /// Signals are lost.
    SignalsLost breaks ["attach::signals_go_to_the_command", "exec::signals_arrive"];
    /// Terminals are passed over.
    TtyDropped breaks [
        "attach::the_command_can_have_a_terminal",
        "exec::a_terminal_is_one",
        "exec::a_terminal_resizes",
        "exec::a_terminal_interrupts",
    ];
    /// Resizes are lost.
    ResizeLost breaks ["exec::a_terminal_resizes", "attach::the_command_can_have_a_terminal"];
    /// stderr comes on stdout.
    StderrOnStdout breaks [
        "attach::stdin_and_stdout_are_carried",
        "exec::stdout_and_stderr_are_apart",
        "os::what_is_missing_is_not_found",
    ];
    /// stdout ends after 1 MiB.
    StdoutTruncated breaks [
        "exec::much_output_comes_whole",
        "exec::stdin_comes_back_both_ways",
        "exec::nobody_need_read",
    ];
    /// stdout comes only when the program has ended.
    StdoutHeldBack breaks ["exec::collected_output_is_bounded"];
    /// A program's end is told when its streams have ended.
    EndWaitsForStreams breaks ["exec::wait_does_not_wait_for_what_was_left"];
    /// Kills are lost, and with them timeouts.
    KillLost breaks [
        "exec::a_dropped_process_is_killed",
        "exec::kill_ends_all_it_started",
        "exec::kill_after_the_end_ends_what_was_left",
        "exec::a_timeout_ends_all_it_started",
        "cross::a_cancelled_exec_leaves_no_program",
    ];
    /// A kill reaches only the program and not what it started.
    KillOnlyOne breaks [
        "exec::a_dropped_process_is_killed",
        "exec::kill_ends_all_it_started",
        "exec::kill_after_the_end_ends_what_was_left",
        "exec::a_timeout_ends_all_it_started",
    ];
    /// A kill ends the whole workload.
    KillTooMuch breaks [
        "exec::a_dropped_process_is_killed",
        "exec::kill_ends_all_it_started",
        "exec::kill_after_the_end_ends_what_was_left",
        "exec::a_timeout_ends_all_it_started",
        "exec::a_timeout_leaves_others_alone",
        "cross::a_cancelled_exec_leaves_no_program",
    ];
    /// A timeout is passed over.
    TimeoutIgnored breaks [
        "exec::a_timeout_ends_all_it_started",
        "exec::a_timeout_leaves_others_alone",
        "cross::secrets_are_not_shown",
    ];
    /// Letting go kills.
    DetachKills breaks ["attach::letting_go_leaves_it_running", "exec::a_detached_program_goes_on"];
    /// Programs run one at a time.
    ExecSerial breaks ["exec::sixteen_at_once"];
    /// A connection to a port swallows what is sent and ends.
    ForwardDead breaks [
        "forward::a_port_is_reached",
        "forward::nothing_that_listens_is_an_error",
        "forward::a_stopped_workload_is_refused",
    ];
    /// A copy in writes nothing.
    CopyInLost breaks ["copy::a_file_arrives", "copy::a_file_replaces_a_file"];
    /// A copy out changes a byte.
    CopyOutCorrupts breaks ["copy::a_file_comes_out"];
    /// Copies end files after 1 MiB.
    CopyTruncates breaks ["copy::a_large_file_is_kept", "copy::a_length_that_is_a_lie_is_refused"];
    /// Empty files are left out.
    EmptyFilesLost breaks [
        "copy::an_empty_file_is_kept",
        "copy::a_tree_is_the_same_both_ways",
        "copy::a_stream_is_taken_as_it_comes",
    ];
    /// Modes are passed over.
    ModesDropped breaks [
        "copy::modes_are_kept",
        "copy::set_id_bits_are_dropped",
        "copy::owners_are_kept_on_request",
        "copy::a_tree_is_the_same_both_ways",
        "copy::a_stream_is_taken_as_it_comes",
    ];
    /// Every copy is an archive.
    AlwaysArchive breaks ["copy::set_id_bits_are_dropped", "copy::owners_are_kept_on_request"];
    /// No copy is an archive.
    NeverArchive breaks ["copy::owners_are_kept_on_request"];
    /// Times are passed over.
    TimesDropped breaks [
        "copy::times_are_kept",
        "copy::a_tree_is_the_same_both_ways",
        "copy::a_deep_tree_is_kept",
        "copy::odd_names_are_kept",
        "copy::names_may_hold_any_byte",
        "copy::a_stream_is_taken_as_it_comes",
    ];
    /// Holes are filled.
    HolesFilled breaks ["copy::holes_stay_holes"];
    /// A copy out always follows a link.
    AlwaysFollow breaks ["copy::a_link_is_kept", "copy::a_link_is_followed_on_request"];
    /// A copy out never follows a link.
    NeverFollow breaks ["copy::a_link_is_followed_on_request"];
    /// A copy is never taken up.
    ResumeIgnored breaks [
        "copy::a_resumed_upload_sends_the_rest",
        "copy::a_resumed_upload_compares_hashes",
        "copy::a_resumed_download_asks_for_the_rest",
    ];
    /// A copy is not checked.
    NeverVerified breaks ["copy::a_copy_can_be_checked_by_hash"];
    /// The report of a copy is empty.
    ReportEmpty breaks ["copy::the_report_counts", "copy::a_tree_is_the_same_both_ways"];
    /// Stat knows no sizes and no links.
    StatLies breaks ["copy::stat_tells_what_is_there"];
    /// A copy out of what is absent gives an empty file.
    AbsentIsEmpty breaks ["copy::what_is_absent_is_not_found", "cross::errors_name_operation_and_backend"];
    /// A copy in makes the directories above.
    ParentsMade breaks ["copy::a_parent_must_exist", "cross::errors_name_operation_and_backend"];
    /// One entry in twenty is left out.
    EntriesSwallowed breaks [
        "copy::a_tree_is_the_same_both_ways",
        "copy::a_deep_tree_is_kept",
        "copy::odd_names_are_kept",
        "copy::a_stream_is_taken_as_it_comes",
    ];
    /// What lies deep is left out.
    DeepLost breaks ["copy::a_deep_tree_is_kept"];
    /// Odd letters in names are replaced.
    NamesCleaned breaks [
        "copy::odd_names_are_kept",
        "copy::names_may_hold_any_byte",
        "copy::hostile_names_are_refused",
    ];
    /// Names that are no UTF-8 are replaced.
    NameBytesReplaced breaks ["copy::names_may_hold_any_byte"];
    /// Hard links become files.
    HardlinksSplit breaks ["copy::hard_links_are_kept", "copy::hard_links_out_of_the_copy_are_refused"];
    /// A copy in removes what was there.
    CopyReplaces breaks ["copy::trees_merge", "copy::a_broken_upload_leaves_the_old_file"];
    /// Children come before their parents.
    ChildrenFirst breaks ["copy::parents_come_first"];
    /// A file has its name before it is whole.
    NotAtomic breaks ["copy::a_broken_upload_leaves_no_file", "copy::a_cancelled_upload_leaves_no_file"];
    /// What is wrong in a source is put right without a word.
    SourcesMended breaks [
        "copy::hard_links_are_kept",
        "copy::a_length_that_is_a_lie_is_refused",
        "copy::hostile_names_are_refused",
        "copy::a_path_through_a_link_of_the_copy_is_refused",
        "copy::hard_links_out_of_the_copy_are_refused",
        "copy::devices_are_refused",
    ];
    /// A copy in goes through the workload's shell, which follows links.
    ShellCopy breaks ["copy::a_read_only_place_is_refused", "copy::a_link_in_the_way_is_not_followed"];
    /// Paths through links are refused.
    LinksRefused breaks ["copy::a_link_is_followed_on_request", "copy::links_never_lead_out_of_the_workload"];
    /// Removed networks stay.
    NetworkRemovalLost breaks [
        "network::one_is_made_listed_and_removed",
        "network::removing_twice_is_already_absent",
        "network::one_in_use_is_not_removed",
    ];
    /// Reserved addresses are handed out.
    ReservedIgnored breaks ["network::one_is_made_listed_and_removed", "network::free_addresses_are_handed_out"];
    /// Another network of the name is taken for the same.
    NetworkFinds breaks ["network::another_of_the_name_is_refused"];
    /// IPv6 subnets are passed over.
    Ipv6Dropped breaks ["network::both_families_are_handed_out", "os::both_families_are_shown"];
    /// A network can't have the subnet of another.
    OverlapRefused breaks [
        "network::overlapping_networks_share_none",
        "network::another_vlan_does_not",
        "network::a_moved_one_reaches_its_new_neighbours",
        "network::an_interface_is_chosen",
    ];
    /// MAC addresses and MTUs are passed over.
    LinkSettingsDropped breaks [
        "network::an_attachment_is_as_asked",
        "network::an_mtu_is_chosen",
        "os::interfaces_are_as_attached",
    ];
    /// Fixed addresses are passed over.
    IpsIgnored breaks ["network::an_address_outside_is_refused"];
    /// Every attachment shows the same address.
    AddressesShared breaks [
        "network::attachments_come_with_the_workload",
        "network::eight_at_once_get_eight_addresses",
        "network::a_network_may_have_no_addresses",
    ];
    /// Attaching twice is an error.
    AttachOnce breaks ["network::attaching_twice_finds_it", "cross::a_cancelled_attach_leaves_all_or_nothing"];
    /// Detach says that it did, and does nothing.
    DetachLost breaks [
        "network::a_running_one_is_attached_and_detached",
        "network::what_is_missing_is_not_found",
        "network::a_detached_ones_address_is_free",
        "os::a_hot_attachment_appears_and_goes",
    ];
    /// A workload's own attachments are passed over.
    AttachmentsDropped breaks [
        "network::attachments_come_with_the_workload",
        "network::a_failed_attachment_makes_no_workload",
        "network::attachments_are_listed",
    ];
    /// Lists of attachments pass over the filter.
    AttachmentFilterIgnored breaks ["network::an_address_is_taken_once"];
    /// A stop detaches.
    StopDetaches breaks ["network::attachments_survive_a_restart", "network::a_stopped_one_does_not_answer"];
    /// The attachments of removed workloads stay in the lists.
    AttachmentsLeak breaks ["network::attachments_go_with_the_workload"];
    /// An attachment that is refused is made.
    FailedAttachLeaves breaks [
        "network::attaching_in_another_way_is_refused",
        "network::a_refused_ones_address_is_free",
    ];
    /// Trunks are made as access ports.
    TrunkAsAccess breaks [
        "network::a_trunk_is_as_asked",
        "network::a_trunk_carries_its_vlans",
        "os::tagged_interfaces_tell_their_vlan",
    ];
    /// Routes are passed over.
    RoutesDropped breaks ["network::routes_are_kept", "os::routes_are_shown"];
    /// DNS servers are passed over.
    DnsDropped breaks ["network::name_servers_are_written"];
    /// No probe is answered.
    ProbesSilent breaks ["network::one_network_reaches"];
    /// Whoever has an address on any network answers.
    NetworksMixed breaks ["network::another_subnet_does_not"];
    /// Probes pass over the interface.
    ProbeInterfaceIgnored breaks ["network::an_interface_is_chosen", "network::a_trunk_carries_its_vlans"];
    /// Outcomes come in the wrong order.
    ProbesReversed breaks ["network::probes_come_in_order"];
    /// Isolation is said to act, and does not.
    IsolationLost breaks [
        "network::isolation_cuts_off_and_joins",
        "network::a_network_can_be_isolated_from_the_start",
        "network::isolation_of_nothing_is_not_found",
    ];
    /// Networks are not isolated from the start.
    IsolatedDropped breaks ["network::a_network_can_be_isolated_from_the_start"];
    /// Rules are said to act, and do not.
    PolicyLost breaks [
        "network::rules_allow_and_deny",
        "network::rules_are_replaced",
        "network::rules_of_nothing_are_not_found",
    ];
    /// Plans are empty.
    PlanEmpty breaks [
        "plan::an_intent_becomes_steps",
        "plan::a_plan_changes_nothing",
        "plan::only_the_difference_is_done",
        "plan::what_is_unwanted_goes",
    ];
    /// A plan is applied at once.
    PlanApplies breaks ["plan::a_plan_changes_nothing"];
    /// A plan repeats what is true.
    PlanRepeats breaks ["plan::what_is_true_needs_no_step", "plan::only_the_difference_is_done"];
    /// Mistakes in an intent are passed over.
    MistakesPassed breaks ["plan::mistakes_are_found"];
    /// Apply says that it did, and does nothing.
    ApplyLost breaks ["plan::what_is_unwanted_goes", "plan::what_is_not_named_is_left_alone"];
    /// Apply does not undo what it did before the step that failed.
    NoRollback breaks ["plan::a_failed_step_rolls_all_back"];
    /// Apply counts wrong.
    AppliedMiscounts breaks ["plan::what_is_unwanted_goes", "plan::an_empty_plan_is_applied"];
    /// A read-back always finds something.
    VerifyCries breaks [
        "network::a_network_can_be_full",
        "network::another_vlan_does_not",
        "network::a_trunk_carries_its_vlans",
    ];
    /// Unknown options of an address are passed over.
    OptionsIgnored breaks ["cross::an_unknown_option_is_refused"];
    /// Errors show the environment.
    SecretsShown breaks ["cross::secrets_are_not_shown"];
    /// A create that is cancelled leaves a workload of another name.
    CancelLeaks breaks ["cross::a_cancelled_create_leaves_all_or_nothing"];
    /// There is no layer that checks requests, and the backend makes sense of nonsense.
    Unchecked breaks [
        "lifecycle::a_bad_spec_is_refused",
        "exec::nonsense_is_refused",
        "forward::port_0_is_refused",
        "copy::paths_are_absolute",
        "network::a_bad_network_is_refused",
        "os::files_are_written_and_read",
        "cross::errors_name_operation_and_backend",
        "cross::errors_of_networks_do_too",
    ];
}
