-- Undoes 20260105120200_notification_templates.sql. Later versions of the texts go, too.
delete from public.notification_templates
where event_type in (
    'gig.new', 'application.new', 'application.accepted', 'application.rejected', 'shift.reminder', 'achievement.unlocked',
    'payout.made', 'message', 'message.text');
