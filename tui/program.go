package tui

import (
	"context"
	"errors"
	"time"
	"unicode"

	tea "charm.land/bubbletea/v2"

	"github.com/sentinel-stack/sentinel/tui/model"
	"github.com/sentinel-stack/sentinel/tui/source"
	"github.com/sentinel-stack/sentinel/tui/view"
)

const (
	// framesPerSecond bounds redrawing; more costs CPU and shows nothing new.
	framesPerSecond = 30
	// clockTick moves ages and countdowns on while nothing arrives.
	clockTick = time.Second
)

// program fits the pure model into the terminal library: messages in, effects out as commands, the view as text.
type program struct {
	ctx   context.Context
	model *model.Model
	theme *view.Theme
	do    func(context.Context, model.Effect) model.Done
}

// runProgram runs the interactive dashboard.
func runProgram(ctx context.Context, o Options, src *source.Source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &program{
		ctx:   ctx,
		model: model.New(model.Options{ReadOnly: o.ReadOnly, Refresh: o.Refresh}, time.Now()),
		theme: view.NewTheme(colored(o.Env), o.ASCII),
		do:    src.Do,
	}
	screen := tea.NewProgram(p, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out),
		tea.WithEnvironment(o.Env), tea.WithFPS(framesPerSecond))
	read := make(chan error, 1)
	go func() {
		// A panic inside comes back as an error, so the screen is always closed in the ordinary way and the terminal restored.
		err := src.Run(ctx, func(msg any) { screen.Send(msg) })
		if err != nil {
			screen.Quit()
		}
		read <- err
	}()
	_, err := screen.Run()
	cancel()
	if readErr := <-read; readErr != nil {
		return readErr
	}
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && !errors.Is(err, tea.ErrProgramPanic) {
		return nil
	}
	return err
}

// Init starts the clock.
func (p *program) Init() tea.Cmd { return tick() }

func tick() tea.Cmd {
	return tea.Tick(clockTick, func(t time.Time) tea.Msg { return model.Tick(t) })
}

// Update translates the library's messages; those of the source pass through.
func (p *program) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch v := msg.(type) {
	case tea.WindowSizeMsg:
		return p, p.send(model.Resize{Width: v.Width, Height: v.Height})
	case tea.KeyPressMsg:
		if v.String() == "ctrl+z" {
			return p, tea.Suspend
		}
		return p, p.send(model.Key(v.String()))
	case tea.PasteMsg:
		return p, p.paste(v.Content)
	case model.Tick:
		return p, tea.Batch(p.send(v), tick())
	default:
		return p, p.send(msg)
	}
}

// paste types the printable characters of a pasted text, but only into the filter: pasted text must never act as key commands.
func (p *program) paste(text string) tea.Cmd {
	var cmds []tea.Cmd
	for _, r := range text {
		if _, editing := p.model.Filter(); !editing {
			break
		}
		if unicode.IsPrint(r) {
			cmds = append(cmds, p.send(model.Key(string(r))))
		}
	}
	return tea.Batch(cmds...)
}

// send hands one message to the model and turns its effects into commands.
func (p *program) send(msg any) tea.Cmd {
	var cmds []tea.Cmd
	for _, e := range p.model.Update(msg) {
		if e.Verb == model.Quit {
			return tea.Quit
		}
		cmds = append(cmds, func() tea.Msg { return p.do(p.ctx, e) })
	}
	return tea.Batch(cmds...)
}

// View draws the model on the alternate screen, so that the terminal is as before when the dashboard is left.
func (p *program) View() tea.View {
	v := tea.NewView(view.Render(p.model, p.theme))
	v.AltScreen = true
	v.WindowTitle = "sentinel-stack: " + p.model.Summary().State
	return v
}
