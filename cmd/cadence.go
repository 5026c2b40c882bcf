package cmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// cadence is when a scheduled job runs: every so often, or at a time of certain days. It can say only what every service
// manager can do.
type cadence struct {
	every        time.Duration // a divisor of an hour in minutes, or of a day in hours; 0: at a time of the day
	days         []time.Weekday
	hour, minute int
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// nightly is the time of those who name none.
const nightly = 3

var errCadence = errors.New(`say "hourly", "daily", "weekly", "daily 18:30", "mon 03:00", "mon-fri 12:00", "sat,sun 09:00" or "every 30m"`)

func parseCadence(text string) (cadence, error) {
	words := strings.Fields(strings.ToLower(text))
	if len(words) == 2 && words[0] == "every" {
		return parseEvery(words[1])
	}
	c := cadence{hour: nightly}
	if n := len(words); n > 0 {
		if t, err := time.Parse("15:04", words[n-1]); err == nil {
			c.hour, c.minute, words = t.Hour(), t.Minute(), words[:n-1]
			if n == 1 {
				return c, nil
			}
		}
	}
	if len(words) != 1 {
		return c, errCadence
	}
	switch words[0] {
	case "hourly":
		if text = strings.TrimSpace(strings.ToLower(text)); text != "hourly" {
			return c, errCadence
		}
		return cadence{every: time.Hour}, nil
	case "daily":
		return c, nil
	case "weekly":
		c.days = []time.Weekday{time.Monday}
		return c, nil
	}
	for part := range strings.SplitSeq(words[0], ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, last := parseDay(from), parseDay(to)
		if !isRange {
			last = first
		}
		if first < 0 || last < 0 {
			return c, errCadence
		}
		for d := first; ; d = (d + 1) % 7 {
			if !slices.Contains(c.days, time.Weekday(d)) {
				c.days = append(c.days, time.Weekday(d))
			}
			if d == last {
				break
			}
		}
	}
	slices.SortFunc(c.days, func(a, b time.Weekday) int { return (int(a)+6)%7 - (int(b)+6)%7 }) // from Monday on
	if len(c.days) == 7 {
		c.days = nil
	}
	return c, nil
}

func parseDay(name string) int {
	return slices.IndexFunc(dayNames, func(d string) bool {
		return name == d || name == strings.ToLower(time.Weekday(slices.Index(dayNames, d)).String())
	})
}

func parseEvery(text string) (cadence, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || d <= 0:
		return cadence{}, errCadence
	case d == 24*time.Hour:
		return cadence{hour: nightly}, nil
	case d < time.Hour && d%time.Minute == 0 && time.Hour%d == 0, d >= time.Hour && d < 24*time.Hour && d%time.Hour == 0 && 24*time.Hour%d == 0:
		return cadence{every: d}, nil
	}
	return cadence{}, fmt.Errorf("every %s cannot be kept: it is 1m, 2m, 3m, 4m, 5m, 6m, 10m, 12m, 15m, 20m, 30m, 1h, 2h, 3h, 4h, 6h, 8h or 12h", text)
}

// String is what parseCadence understands.
func (c cadence) String() string {
	at := fmt.Sprintf("%02d:%02d", c.hour, c.minute)
	switch {
	case c.every == time.Hour:
		return "hourly"
	case c.every > time.Hour:
		return fmt.Sprintf("every %dh", c.every/time.Hour)
	case c.every > 0:
		return fmt.Sprintf("every %dm", c.every/time.Minute)
	case len(c.days) == 0:
		return "daily " + at
	}
	return c.names(",") + " " + at
}

func (c cadence) names(sep string) string {
	names := make([]string, len(c.days))
	for i, d := range c.days {
		names[i] = dayNames[d]
	}
	return strings.Join(names, sep)
}

// systemd is an OnCalendar= expression, see systemd.time(7).
func (c cadence) systemd() string {
	switch {
	case c.every >= time.Hour:
		return fmt.Sprintf("*-*-* 00/%d:00:00", c.every/time.Hour)
	case c.every > 0:
		return fmt.Sprintf("*-*-* *:00/%d:00", c.every/time.Minute)
	}
	days := ""
	for i, d := range c.days {
		if i > 0 {
			days += ","
		}
		days += d.String()[:3]
	}
	return strings.TrimPrefix(fmt.Sprintf("%s *-*-* %02d:%02d:00", days, c.hour, c.minute), " ")
}

// cron is the five fields of crontab(5).
func (c cadence) cron() string {
	switch {
	case c.every == time.Hour:
		return "0 * * * *"
	case c.every > time.Hour:
		return fmt.Sprintf("0 */%d * * *", c.every/time.Hour)
	case c.every == time.Minute:
		return "* * * * *"
	case c.every > 0:
		return fmt.Sprintf("*/%d * * * *", c.every/time.Minute)
	case len(c.days) == 0:
		return fmt.Sprintf("%d %d * * *", c.minute, c.hour)
	}
	days := make([]string, len(c.days))
	for i, d := range c.days {
		days[i] = fmt.Sprint(int(d))
	}
	return fmt.Sprintf("%d %d * * %s", c.minute, c.hour, strings.Join(days, ","))
}
