-- Gigs near a place, nearest first; what is hidden stays hidden.
begin;
\ir _people.sql
select plan(9);

select volatility_is('public', 'search_gigs', 'stable', 'a search changes nothing');
select has_index('public', 'gigs', 'gigs_location_idx', array['location'], 'and has an index to go by');

select tests.clear_authentication();
select results_eq(
    $$select title from public.search_gigs('test_kitchen', 10, 3.139, 101.6869)$$, array['Waiter', 'Cook'], 'nearest first');
select results_eq(
    $$select title from public.search_gigs('test_kitchen', 5, 3.139, 101.6869)$$, array['Waiter'], 'within five kilometres');
select results_eq(
    $$select title from public.search_gigs('test_kitchen', 10, 3.139, 101.6869, 15)$$, array['Cook'], 'from a rate on');
select set_eq(
    $$select title from public.search_gigs('test_kitchen')$$, array['Waiter', 'Cook'], 'drafts are not found, position or none');
select throws_matching(
    $$select public.search_gigs(p_limit => -1)$$, '^VALIDATION_ERROR: ', 'less than none is no limit');
select throws_matching(
    $$select public.search_gigs(p_user_lat => 3.1)$$, '^VALIDATION_ERROR: ', 'half a position is none');

reset role;
update public.gigs set status = 'closed' where title = 'Cook' and category = 'test_kitchen';
select tests.clear_authentication();
select results_eq($$select title from public.search_gigs('test_kitchen')$$, array['Waiter'], 'closed gigs are not found');

select * from finish();
rollback;
